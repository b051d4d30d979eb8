//! Keys and settings in a token of the servers.

use fluss_core::config::StorageToken;
use serde_json::Value;

use crate::sign::Keys;

/// The version of the JSON that servers write.
const VERSION: u64 = 1;

/// The keys in a token; None in an empty one.
pub(crate) fn keys_of(token: &StorageToken) -> Result<Option<Keys>, String> {
    if token.token.is_empty() {
        return Ok(None);
    }
    // What was read is not part of any text: it holds secrets.
    let json: Value = serde_json::from_slice(&token.token).map_err(|error| {
        format!("the servers' token for storage `{}` is no JSON: {error}", token.scheme)
    })?;
    let wrong = |what: &str| format!("the servers' token for storage `{}` {what}", token.scheme);
    match json.get("version") {
        None => {}
        Some(version) if version.as_u64() == Some(VERSION) => {}
        Some(_) => return Err(wrong("has a version that this client does not know, only 1")),
    }
    let text = |name: &str| match json.get(name) {
        Some(Value::String(text)) if is_plain(text) => Ok(Some(text.clone())),
        None | Some(Value::Null) => Ok(None),
        Some(_) => Err(wrong(&format!("has a `{name}` that is no text of a key"))),
    };
    let needed = |name: &str| text(name)?.ok_or_else(|| wrong(&format!("has no `{name}`")));
    let (id, secret) = (needed("access_key_id")?, needed("access_key_secret")?);
    Ok(Some(Keys { id, secret, session: text("security_token")? }))
}

/// Whether a text can stand in a header: letters, digits and signs.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The first of these settings that a token has, and that is not empty.
pub(crate) fn setting<'a>(token: Option<&'a StorageToken>, names: &[&str]) -> Option<&'a str> {
    let settings = &token?.settings;
    let of = |name: &&str| settings.get(*name).map(|value| value.trim());
    names.iter().filter_map(of).find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(token: &str) -> Result<Option<Keys>, String> {
        keys_of(&StorageToken::new("s3", token.to_owned()))
    }

    fn parts(token: &str) -> (String, String, Option<String>) {
        let keys = keys(token).expect("it can be read").expect("keys");
        (keys.id, keys.secret, keys.session)
    }

    /// The shapes that servers write: in their order, without spaces, a session or none.
    #[test]
    fn tokens_of_servers_are_read() {
        let lent = r#"{"version":1,"access_key_id":"ASIA1","access_key_secret":"s/e+c",
            "security_token":"a+b/c=="}"#;
        assert_eq!(parts(lent), ("ASIA1".into(), "s/e+c".into(), Some("a+b/c==".into())));
        for fixed in [
            r#"{"version":1,"access_key_id":"AK","access_key_secret":"s","security_token":null}"#,
            r#"{"version":1,"access_key_id":"AK","access_key_secret":"s"}"#,
            r#"{"access_key_secret":"s","more":{"x":[1]},"access_key_id":"AK"}"#,
        ] {
            assert_eq!(parts(fixed), ("AK".into(), "s".into(), None), "{fixed}");
        }
        assert!(keys("").is_ok_and(|keys| keys.is_none()));
    }

    #[test]
    fn what_is_no_token_is_told_without_its_secrets() {
        let deep = "[".repeat(60_000);
        let long = format!(r#"{{"access_key_id":"{}"}}"#, "hush".repeat(10_000));
        for (token, text) in [
            ("hush", "no JSON"),
            (&deep, "no JSON"),
            ("\u{0}hush", "no JSON"),
            ("[\"hush\"]", "no `access_key_id`"),
            ("{}", "no `access_key_id`"),
            (&long, "no `access_key_secret`"),
            (r#"{"version":2,"access_key_id":"hush","access_key_secret":"hush"}"#, "version"),
            (r#"{"version":"1","access_key_id":"hush","access_key_secret":"s"}"#, "version"),
            (r#"{"access_key_id":"a","access_key_secret":["hush"]}"#, "`access_key_secret`"),
            (r#"{"access_key_id":"hu\r\nsh","access_key_secret":"hush"}"#, "`access_key_id`"),
            (r#"{"access_key_id":"","access_key_secret":"hush"}"#, "`access_key_id`"),
            (
                r#"{"access_key_id":"a","access_key_secret":"b","security_token":7}"#,
                "`security_token`",
            ),
            (
                r#"{"access_key_id":"a","access_key_secret":"b","security_token":"hüsh"}"#,
                "`security_token`",
            ),
        ] {
            let error = keys(token).err().expect(text);
            assert!(error.contains(text) && !error.contains("hush"), "{error}");
            assert!(error.len() < 200, "{error}");
        }
        let binary = StorageToken::new("s3", &b"\xff\xfe"[..]);
        assert!(keys_of(&binary).is_err());
    }

    #[test]
    fn the_first_setting_that_is_there_counts() {
        let token = StorageToken::new("s3", "")
            .setting("fs.s3a.region", " ")
            .setting("fs.s3a.endpoint.region", "eu-1");
        let names = ["fs.s3a.region", "fs.s3a.endpoint.region"];
        assert_eq!(setting(Some(&token), &names), Some("eu-1"));
        assert_eq!(setting(Some(&token), &["fs.s3a.endpoint"]), None);
        assert_eq!(setting(None, &names), None);
    }
}
