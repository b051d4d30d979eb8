//! What the client calls the settings, for those who know them by the names of the Java client.

/// Names in the client's errors, and the setting behind each.
const NAMES: &[(&str, &str)] = &[
    ("connect_timeout", "client.connect-timeout"),
    ("ack_timeout", "client.request-timeout"),
    ("request_deadline", "client.request-deadline"),
    ("max_frame_bytes", "client.frame.max-bytes"),
    ("memory_limit", "client.writer.buffer.memory-size"),
    ("lookup_in_flight", "client.lookup.max-inflight-requests"),
    ("lookup_limit", "client.lookup.queue-size"),
    ("lookup_memory_limit", "client.lookup.buffer.memory-size"),
    ("batch_bytes", "client.writer.batch-size"),
    ("linger", "client.writer.batch-timeout"),
    ("request_bytes", "client.writer.request-max-size"),
    ("acks", "client.writer.acks"),
    ("retries", "client.writer.retries"),
    ("idempotence", "client.writer.enable-idempotence"),
    ("max_in_flight", "client.writer.max-inflight-requests-per-bucket"),
    ("max_throttle", "client.writer.kv-backpressure.max-throttle"),
    ("delivery_timeout", "client.writer.delivery-timeout"),
    ("retry_backoff.initial", "client.writer.retry-backoff.initial"),
    ("idle_rotate", "client.writer.idle-rotate"),
    ("buffer_limit", "client.scanner.buffer.max-bytes"),
    ("max_bytes", "client.scanner.log.fetch.max-bytes"),
    ("max_bytes_per_bucket", "client.scanner.log.fetch.max-bytes-for-bucket"),
    ("min_bytes", "client.scanner.log.fetch.min-bytes"),
    ("max_wait", "client.scanner.log.fetch.wait-max-time"),
    ("fetch_bytes", "client.scanner.kv.fetch.max-bytes"),
    ("max_rows", "client.scanner.kv.limit-scan.max-rows"),
];

/// A violated rule, with the settings that it speaks of behind it.
pub(crate) fn explained(problem: &str) -> String {
    let words = || {
        let ends = |c: char| !c.is_alphanumeric() && c != '_' && c != '.';
        problem.split(ends).map(|word| word.trim_end_matches('.'))
    };
    let meant: Vec<String> = NAMES
        .iter()
        .filter(|(name, _)| words().any(|word| word == *name))
        .map(|(name, key)| format!("{name} is {key}"))
        .collect();
    if meant.is_empty() {
        return problem.to_owned();
    }
    format!("{problem} ({})", meant.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violated_rule_names_each_of_its_settings_and_no_other() {
        assert_eq!(
            explained("max_frame_bytes must be at least 1024"),
            "max_frame_bytes must be at least 1024 (max_frame_bytes is client.frame.max-bytes)"
        );
        assert_eq!(
            explained("request_bytes 7: above max_request_bytes, lower linger."),
            "request_bytes 7: above max_request_bytes, lower linger. \
             (linger is client.writer.batch-timeout, \
             request_bytes is client.writer.request-max-size)"
        );
        assert_eq!(explained("at least one address is needed"), "at least one address is needed");
    }

    #[test]
    fn each_name_is_one_of_a_setting_that_there_is() {
        for (name, key) in NAMES {
            let known =
                super::super::settings::known().any(|(known, why)| known == *key && why.is_none());
            assert!(known, "{name}: {key}");
        }
    }
}
