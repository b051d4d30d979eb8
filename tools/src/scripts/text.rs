//! Messages as short text: the debug form without type names, absent fields and `Some`.
//!
//! The debug form names every field of a message, so a field that is added to the protocol is
//! compared without anybody thinking of it.

use std::fmt::Debug;

/// The short text of a message.
pub(super) fn short(message: &impl Debug) -> String {
    let text = format!("{message:?}");
    let mut reader = Reader { rest: &text };
    reader.value()
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn until(&mut self, stop: impl Fn(char) -> bool) -> &'a str {
        let (head, rest) = self.rest.split_at(self.rest.find(stop).unwrap_or(self.rest.len()));
        self.rest = rest;
        head
    }

    fn value(&mut self) -> String {
        if self.eat("[") {
            return format!("[{}]", self.list("]"));
        }
        if self.eat("b\"") || self.eat("\"") {
            return self.quoted();
        }
        let word = self.until(|c| !(c.is_alphanumeric() || "_-.".contains(c)));
        if self.eat("(") {
            let inner = self.list(")");
            return if word == "Some" { inner } else { format!("{word}({inner})") };
        }
        if self.eat(" { ") {
            return format!("{{{}}}", self.fields());
        }
        match word {
            "None" => String::new(),
            _ => word.to_owned(),
        }
    }

    fn list(&mut self, end: &str) -> String {
        let mut items = Vec::new();
        while !self.eat(end) && !self.rest.is_empty() {
            items.push(self.value());
            self.eat(", ");
        }
        items.join(", ")
    }

    fn fields(&mut self) -> String {
        let mut fields = Vec::new();
        while !self.eat(" }") && !self.rest.is_empty() {
            let name = self.until(|c| c == ':');
            self.eat(": ");
            let none = self.rest.starts_with("None");
            let value = self.value();
            if !none && value != "[]" {
                fields.push(format!("{name}: {value}"));
            }
            self.eat(", ");
        }
        fields.join(", ")
    }

    fn quoted(&mut self) -> String {
        let mut text = String::from("\"");
        while let Some(c) = self.rest.chars().next() {
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '"' => break,
                '\\' => {
                    text.push(c);
                    let next = self.rest.chars().next().unwrap_or(' ');
                    text.push(next);
                    self.rest = self.rest.get(next.len_utf8()..).unwrap_or("");
                }
                c => text.push(c),
            }
        }
        text + "\""
    }
}

#[cfg(test)]
mod tests {
    use fluss_proto::message::{PbProduceLogRespForBucket, ProduceLogResponse};

    use super::short;

    #[test]
    fn fields_that_are_absent_are_left_out_and_the_others_named() {
        let bucket = PbProduceLogRespForBucket {
            bucket_id: 1,
            error_code: Some(-1),
            error_message: Some("a \"b\" }, c: [".into()),
            ..Default::default()
        };
        let answer = ProduceLogResponse { buckets_resp: vec![bucket, Default::default()] };
        assert_eq!(
            short(&answer),
            r#"{buckets_resp: [{bucket_id: 1, error_code: -1, error_message: "a \"b\" }, c: ["}, "#
                .to_owned()
                + "{bucket_id: 0}]}"
        );
        assert_eq!(short(&ProduceLogResponse::default()), "{}");
    }
}
