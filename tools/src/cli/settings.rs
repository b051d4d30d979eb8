//! Client settings by the names of the Java client.

use fluss_core::config::{Acks, Config, NoKeyAssigner, WriterConfig};
use std::time::Duration;

use super::failure::{Failure, Result};
use super::nearest::{closest, is_near};
use super::units::{parse_duration, parse_size};

/// All settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) client: Config,
    pub(crate) writer: WriterConfig,
    pub(crate) scanner: ScannerSettings,
}

/// Settings of scanners; None where the client's default stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ScannerSettings {
    pub(crate) max_bytes: Option<usize>,
    pub(crate) max_bytes_per_bucket: Option<usize>,
    pub(crate) min_bytes: Option<usize>,
    pub(crate) max_wait: Option<Duration>,
    pub(crate) buffer_limit: Option<u64>,
    pub(crate) kv_fetch_bytes: Option<usize>,
    pub(crate) kv_max_rows: Option<u32>,
    pub(crate) kv_max_state_bytes: Option<u64>,
}

/// Who authenticates how, as far as settings say it.
#[derive(Debug, Default)]
struct Login {
    protocol: Option<String>,
    mechanism: Option<String>,
    user: Option<String>,
    password: Option<String>,
}

/// What settings are applied to.
struct Draft<'a> {
    settings: &'a mut Settings,
    login: &'a mut Login,
}

enum Apply {
    /// Has a meaning here.
    Set(fn(&mut Draft<'_>, &str) -> Result<(), String>),
    /// The Java client has it; the text says why it changes nothing here.
    Note(&'static str),
}

struct Setting {
    key: &'static str,
    apply: Apply,
}

const fn set(key: &'static str, apply: fn(&mut Draft<'_>, &str) -> Result<(), String>) -> Setting {
    Setting { key, apply: Apply::Set(apply) }
}

const fn note(key: &'static str, why: &'static str) -> Setting {
    Setting { key, apply: Apply::Note(why) }
}

const NO_PAGES: &str = "memory is counted in bytes, there are no pages";
const NO_THREADS: &str = "there are no network threads to configure";
const NO_QUEUE: &str = "keys gather while requests are on their way, nothing waits for a timer";
const ONLY_FILES: &str = "of remote storage, files of this machine are read, as they are";
const NO_TOKENS: &str = "of remote storage, files of this machine are read, without tokens";
const NO_CHOICE: &str = "servers have no preference told: they send what they have themselves";
const PARTS: &str = "segments are read in parts, as many as client.scanner.buffer.max-bytes allows";
const THREE: &str = "remote storage is read by up to three threads, as many as there are reads";
const IN_MEMORY: &str = "segments of remote storage are read into memory, not into files";
const NO_METRICS: &str = "there are no reporters; the command prints what it measured";

const SETTINGS: &[Setting] = &[
    set("client.connect-timeout", |d, v| duration(&mut d.settings.client.connect_timeout, v)),
    set("client.request-timeout", |d, v| duration(&mut d.settings.client.ack_timeout, v)),
    set("client.request-deadline", |d, v| duration(&mut d.settings.client.request_deadline, v)),
    set("client.frame.max-bytes", |d, v| bytes(&mut d.settings.client.max_frame_bytes, v)),
    set("client.writer.buffer.memory-size", |d, v| {
        parse_size(v).map(|bytes| d.settings.client.memory_limit = bytes)
    }),
    set("client.lookup.max-inflight-requests", |d, v| {
        number(&mut d.settings.client.lookup_in_flight, v)
    }),
    set("client.lookup.queue-size", |d, v| number(&mut d.settings.client.lookup_limit, v)),
    set("client.lookup.buffer.memory-size", |d, v| {
        parse_size(v).map(|bytes| d.settings.client.lookup_memory_limit = bytes)
    }),
    set("client.writer.batch-size", |d, v| bytes(&mut d.settings.writer.batch_bytes, v)),
    set("client.writer.batch-timeout", |d, v| duration(&mut d.settings.writer.linger, v)),
    set("client.writer.request-max-size", |d, v| bytes(&mut d.settings.writer.request_bytes, v)),
    set("client.writer.acks", |d, v| acks(v).map(|acks| d.settings.writer.acks = acks)),
    set("client.writer.retries", |d, v| number(&mut d.settings.writer.retries, v)),
    set("client.writer.enable-idempotence", |d, v| {
        boolean(v).map(|on| d.settings.writer.idempotence = on)
    }),
    set("client.writer.dynamic-create-partition.enabled", |d, v| {
        boolean(v).map(|on| d.settings.writer.dynamic_partition_creation = on)
    }),
    set("client.writer.bucket.no-key-assigner", |d, v| {
        d.settings.writer.no_key_assigner = match v.to_ascii_uppercase().as_str() {
            "STICKY" => NoKeyAssigner::Sticky,
            "ROUND_ROBIN" => NoKeyAssigner::RoundRobin,
            _ => return Err(format!("`{v}` is neither STICKY nor ROUND_ROBIN")),
        };
        Ok(())
    }),
    set("client.writer.max-inflight-requests-per-bucket", |d, v| {
        number(&mut d.settings.writer.max_in_flight, v)
    }),
    set("client.writer.kv-backpressure.max-throttle", |d, v| {
        duration(&mut d.settings.writer.max_throttle, v)
    }),
    set("client.writer.delivery-timeout", |d, v| {
        duration(&mut d.settings.writer.delivery_timeout, v)
    }),
    set("client.writer.retry-backoff.initial", |d, v| {
        duration(&mut d.settings.writer.retry_backoff.initial, v)
    }),
    set("client.writer.retry-backoff.max", |d, v| {
        duration(&mut d.settings.writer.retry_backoff.max, v)
    }),
    set("client.writer.idle-rotate", |d, v| duration(&mut d.settings.writer.idle_rotate, v)),
    set("client.scanner.buffer.max-bytes", |d, v| {
        parse_size(v).map(|bytes| d.settings.scanner.buffer_limit = Some(bytes))
    }),
    set("client.scanner.log.fetch.max-bytes", |d, v| {
        some_bytes(&mut d.settings.scanner.max_bytes, v)
    }),
    set("client.scanner.log.fetch.max-bytes-for-bucket", |d, v| {
        some_bytes(&mut d.settings.scanner.max_bytes_per_bucket, v)
    }),
    set("client.scanner.log.fetch.min-bytes", |d, v| {
        some_bytes(&mut d.settings.scanner.min_bytes, v)
    }),
    set("client.scanner.log.fetch.wait-max-time", |d, v| {
        parse_duration(v).map(|wait| d.settings.scanner.max_wait = Some(wait))
    }),
    set("client.scanner.kv.fetch.max-bytes", |d, v| {
        some_bytes(&mut d.settings.scanner.kv_fetch_bytes, v)
    }),
    set("client.scanner.kv.limit-scan.max-rows", |d, v| {
        let mut rows = 0;
        number(&mut rows, v).map(|()| d.settings.scanner.kv_max_rows = Some(rows))
    }),
    set("client.scanner.kv.replay.max-bytes", |d, v| {
        parse_size(v).map(|bytes| d.settings.scanner.kv_max_state_bytes = Some(bytes))
    }),
    set("client.security.protocol", |d, v| keep(&mut d.login.protocol, v)),
    set("client.security.sasl.mechanism", |d, v| keep(&mut d.login.mechanism, v)),
    set("client.security.sasl.username", |d, v| keep(&mut d.login.user, v)),
    set("client.security.sasl.password", |d, v| keep(&mut d.login.password, v)),
    set("client.security.sasl.jaas.config", |_, _| {
        Err("a JAAS line is not read: use --user and --password".to_owned())
    }),
    set("bootstrap.servers", |_, _| Err("use --bootstrap for the servers to ask".to_owned())),
    note("client.id", "servers do not learn it"),
    note("client.security.enable-plugin-discovery", "there are no plugins"),
    note("client.writer.buffer.page-size", NO_PAGES),
    note("client.writer.buffer.per-request-memory-size", NO_PAGES),
    note("client.writer.buffer.wait-timeout", "rows wait for memory as long as it takes"),
    note("client.writer.dynamic-batch-size.enabled", "batches always grow only as far as needed"),
    note("client.scanner.log.check-crc", "checksums are always verified where there are any"),
    note("client.scanner.log.max-poll-records", "records come batch by batch"),
    note("client.scanner.log.read-preference", NO_CHOICE),
    note("client.scanner.remote-log.prefetch-num", PARTS),
    note("client.remote-file.download-thread-num", THREE),
    note("client.scanner.io.tmpdir", IN_MEMORY),
    note("client.scanner.kv.batch-strategy", "it concerns another connector"),
    note("client.filesystem.security.token.renewal.backoff", NO_TOKENS),
    note("client.filesystem.security.token.renewal.time-ratio", NO_TOKENS),
    note("client.lookup.max-batch-size", NO_QUEUE),
    note("client.lookup.batch-timeout", NO_QUEUE),
    note("client.lookup.max-retries", "lookups are retried until their deadline"),
    note("client.metrics.enabled", NO_METRICS),
    note("metrics.reporters", NO_METRICS),
    note("netty.connection.max-idle-time", "the server's own limit closes idle connections"),
    note("netty.client.num-network-threads", NO_THREADS),
    note("netty.client.allocator.heap-buffer-first", NO_THREADS),
];

/// A family of settings by their common beginning.
const NOTED_PREFIXES: &[(&str, &str)] = &[("client.fs.", ONLY_FILES)];

impl Settings {
    /// Settings for these servers, changed by `KEY=VALUE` pairs. Answers also the notes about those
    /// that change nothing.
    pub(crate) fn new(
        bootstrap: &str,
        pairs: &[String],
        user: Option<(String, String)>,
    ) -> Result<(Self, Vec<String>)> {
        let client = Config::new(bootstrap)?;
        let (writer, scanner) = (WriterConfig::default(), ScannerSettings::default());
        let mut settings = Self { client, writer, scanner };
        let (mut login, mut notes) = (Login::default(), Vec::new());
        let mut draft = Draft { settings: &mut settings, login: &mut login };
        for pair in pairs {
            notes.extend(apply(&mut draft, pair)?);
        }
        settings.log_in(login, user)?;
        settings.client.validate()?;
        settings.writer.validate(&settings.client)?;
        Ok((settings, notes))
    }

    fn log_in(&mut self, login: Login, user: Option<(String, String)>) -> Result<()> {
        let protocol = login.protocol.as_deref().unwrap_or("PLAINTEXT");
        let sasl = protocol.eq_ignore_ascii_case("sasl");
        if !sasl && !protocol.eq_ignore_ascii_case("plaintext") {
            let text =
                format!("client.security.protocol: `{protocol}` is neither PLAINTEXT nor sasl");
            return Err(Failure::usage(text));
        }
        if let Some(mechanism) = &login.mechanism
            && !mechanism.eq_ignore_ascii_case("plain")
        {
            let text = format!("client.security.sasl.mechanism: `{mechanism}` is not PLAIN");
            return Err(Failure::usage(text));
        }
        let named = login.mechanism.or(login.user.clone()).or(login.password.clone()).is_some();
        let pair = match (user, login.user, login.password) {
            (Some(_), ..) if named => {
                return Err(Failure::usage(
                    "--user and --password cannot be combined with client.security.sasl settings",
                ));
            }
            (Some(pair), ..) => Some(pair),
            (None, Some(user), Some(password)) if sasl => Some((user, password)),
            (None, ..) if sasl => {
                return Err(Failure::usage(
                    "client.security.protocol=sasl needs client.security.sasl.username and \
                     client.security.sasl.password",
                ));
            }
            (None, ..) if named => {
                return Err(Failure::usage(
                    "client.security.sasl settings need client.security.protocol=sasl",
                ));
            }
            (None, ..) => None,
        };
        if let Some((user, password)) = pair {
            self.client = self.client.clone().credentials(&user, &password);
        }
        Ok(())
    }
}

/// Applies one `KEY=VALUE`; answers the note about one that changes nothing.
fn apply(draft: &mut Draft<'_>, pair: &str) -> Result<Option<String>> {
    let (key, value) = pair
        .split_once('=')
        .map(|(key, value)| (key.trim(), value.trim()))
        .ok_or_else(|| Failure::usage(format!("--config wants KEY=VALUE, not `{pair}`")))?;
    if let Some((_, why)) = NOTED_PREFIXES.iter().find(|(prefix, _)| key.starts_with(prefix)) {
        return Ok(Some(format!("the setting {key} has no effect: {why}")));
    }
    let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
        return Err(unknown(key));
    };
    match &setting.apply {
        Apply::Note(why) => Ok(Some(format!("the setting {key} has no effect: {why}"))),
        Apply::Set(set) => match set(draft, value) {
            Ok(()) => Ok(None),
            Err(problem) => Err(Failure::usage(format!("the setting {key}: {problem}"))),
        },
    }
}

fn unknown(key: &str) -> Failure {
    const ALL: &str = "`fluss help settings` lists all";
    let hint = match closest(key, SETTINGS.iter().map(|setting| setting.key)) {
        Some(found) if is_near(key, found) => format!("did you mean `{found}`?"),
        Some(found) => format!("the nearest is `{found}`, {ALL}"),
        None => ALL.to_owned(),
    };
    Failure::usage(format!("the setting `{key}` is unknown; {hint}"))
}

/// All keys, with the note where one has no effect.
pub(crate) fn known() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    SETTINGS.iter().map(|setting| match setting.apply {
        Apply::Set(_) => (setting.key, None),
        Apply::Note(why) => (setting.key, Some(why)),
    })
}

fn duration(target: &mut Duration, value: &str) -> Result<(), String> {
    *target = parse_duration(value)?;
    Ok(())
}

fn bytes(target: &mut usize, value: &str) -> Result<(), String> {
    let bytes = parse_size(value)?;
    *target = usize::try_from(bytes).map_err(|_| format!("`{value}` is too large"))?;
    Ok(())
}

fn some_bytes(target: &mut Option<usize>, value: &str) -> Result<(), String> {
    bytes(target.insert(0), value)
}

fn number<T: std::str::FromStr>(target: &mut T, value: &str) -> Result<(), String> {
    *target = value.parse().map_err(|_| format!("`{value}` is no number within its range"))?;
    Ok(())
}

fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{value}` is neither true nor false")),
    }
}

fn acks(value: &str) -> Result<Acks, String> {
    match value {
        "all" | "-1" => Ok(Acks::All),
        "1" => Ok(Acks::Leader),
        "0" => Ok(Acks::None),
        _ => Err(format!("`{value}` is none of all, -1, 0 and 1")),
    }
}

fn keep(target: &mut Option<String>, value: &str) -> Result<(), String> {
    *target = Some(value.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[&str]) -> Result<(Settings, Vec<String>)> {
        let pairs: Vec<String> = pairs.iter().map(|p| (*p).to_owned()).collect();
        Settings::new("127.0.0.1:9123", &pairs, None)
    }

    fn refused(pairs: &[&str]) -> String {
        match settings(pairs) {
            Err(failure @ Failure::Usage(_)) => failure.to_string(),
            other => panic!("{pairs:?}: {other:?}"),
        }
    }

    #[test]
    fn settings_reach_the_client_and_the_writer() {
        let (settings, notes) = settings(&[
            "client.writer.batch-timeout=5ms",
            "client.writer.buffer.memory-size = 16mb",
            "client.writer.acks=1",
            "client.writer.enable-idempotence=false",
            "client.scanner.buffer.max-bytes=1mb",
            "client.scanner.kv.fetch.max-bytes=64kb",
            "client.scanner.kv.limit-scan.max-rows=7",
            "client.scanner.kv.replay.max-bytes=2mb",
            "client.request-deadline=50s",
            "client.writer.retry-backoff.max=2s",
        ])
        .expect("sound settings");
        assert_eq!(settings.writer.linger, Duration::from_millis(5));
        assert_eq!(settings.client.memory_limit, 16 << 20);
        assert_eq!(settings.writer.acks, Acks::Leader);
        assert_eq!(settings.scanner.buffer_limit, Some(1 << 20));
        assert_eq!(settings.scanner.kv_fetch_bytes, Some(64 << 10));
        assert_eq!(settings.scanner.kv_max_rows, Some(7));
        assert_eq!(settings.scanner.kv_max_state_bytes, Some(2 << 20));
        assert_eq!(settings.client.request_deadline, Duration::from_secs(50));
        assert_eq!(settings.writer.retry_backoff.max, Duration::from_secs(2));
        assert!(notes.is_empty());
    }

    #[test]
    fn settings_of_the_java_client_without_a_meaning_are_noted() {
        let (_, notes) =
            settings(&["client.writer.buffer.page-size=128kb", "client.fs.s3.key=x"]).expect("ok");
        assert_eq!(notes.len(), 2);
        assert!(notes[0].contains("page-size"), "{notes:?}");
        for (key, why) in [
            ("client.fs.s3.key", "files of this machine are read"),
            ("client.filesystem.security.token.renewal.backoff", "without tokens"),
            ("client.scanner.log.read-preference", "no preference told"),
            ("client.scanner.remote-log.prefetch-num", "client.scanner.buffer.max-bytes"),
            ("client.remote-file.download-thread-num", "up to three threads"),
            ("client.scanner.io.tmpdir", "read into memory"),
        ] {
            let (_, notes) = settings(&[&format!("{key}=1")]).expect("ok");
            assert!(notes.len() == 1 && notes[0].contains(why), "{key}: {notes:?}");
        }
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused() {
        assert!(refused(&["client.writer.ack=all"]).contains("`client.writer.acks`"));
        assert!(refused(&["nonsense=1"]).contains("help settings"));
        assert!(refused(&["client.writer.acks"]).contains("KEY=VALUE"));
        assert!(refused(&["client.writer.acks=7"]).contains("none of all"));
        assert!(refused(&["client.writer.batch-timeout=soon"]).contains("`soon`"));
        // Idempotence needs all acks.
        assert!(refused(&["client.writer.acks=1"]).contains("idempotence"));
    }

    #[test]
    fn settings_and_options_cannot_both_say_who_logs_in() {
        let pairs = ["client.security.sasl.username=ada".to_owned()];
        let user = Some(("ada".to_owned(), "secret".to_owned()));
        let both = Settings::new("a:1", &pairs, user.clone());
        assert!(matches!(both, Err(Failure::Usage(_))), "{both:?}");
        assert!(refused(&["client.security.sasl.username=ada"]).contains("protocol=sasl"));
        assert!(refused(&["client.security.protocol=sasl"]).contains("username"));
        assert!(refused(&["client.security.protocol=kerberos"]).contains("kerberos"));
        assert!(Settings::new("a:1", &[], user).expect("ok").0.client.credentials.is_some());
        let (settings, _) = settings(&[
            "client.security.protocol=sasl",
            "client.security.sasl.username=ada",
            "client.security.sasl.password=secret",
        ])
        .expect("ok");
        assert!(settings.client.credentials.is_some());
    }
}
