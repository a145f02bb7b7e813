//! Connection strings: what the driver does not read of them.

use std::fmt::Write as _;
use std::path::PathBuf;

use annals::{Error, Result};
use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

/// Which certificates a server may have, by `sslrootcert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Those that the system knows.
    System,
    /// Those of a file.
    File(PathBuf),
}

/// What a connection string says beside what the driver reads.
#[derive(Debug, Default, PartialEq, Eq)]
struct More {
    roots: Option<Roots>,
    encrypts: bool,
    session: Option<TargetSessionAttrs>,
    fallback_name: Option<String>,
}

/// Reads a URL, or keys and values, as libpq does. No reason quotes the text, which has the password.
pub(crate) fn parse(text: &str) -> Result<(Config, Option<Roots>)> {
    let mut more = More::default();
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    let rest = if is_url { more.take_from_url(text)? } else { more.take_from_pairs(text)? };
    let parsed: std::result::Result<Config, _> = rest.parse();
    let mut config = parsed.map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => Error::invalid(format!("{error}: {cause}")),
        None => Error::invalid(error),
    })?;
    if more.encrypts {
        config.ssl_mode(tokio_postgres::config::SslMode::Require);
    }
    if let Some(session) = more.session {
        config.target_session_attrs(session);
    }
    if let (None, Some(name)) = (config.get_application_name(), more.fallback_name) {
        config.application_name(name);
    }
    Ok((config, more.roots))
}

impl More {
    /// Takes what it knows out of the parameters of a URL, and returns the URL with the others.
    fn take_from_url(&mut self, url: &str) -> Result<String> {
        // A password may have a question mark.
        let host = url.find('@').unwrap_or(0);
        let Some(mark) = url[host..].find('?') else { return Ok(url.to_owned()) };
        let (base, query) = url.split_at(host + mark);
        let query = &query[1..];
        let mut rest = Vec::new();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy();
            if !self.take(key, &value)? {
                rest.push(pair);
            }
        }
        let mark = if rest.is_empty() { "" } else { "?" };
        Ok(format!("{base}{mark}{}", rest.join("&")))
    }

    /// The same of keys and values. What cannot be taken apart is left to the driver, which says what is wrong.
    fn take_from_pairs(&mut self, text: &str) -> Result<String> {
        let Some(pairs) = pairs(text) else { return Ok(text.to_owned()) };
        let mut rest = String::new();
        for (key, value) in pairs {
            if !self.take(&key, &value)? {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                // Writing to a string cannot fail.
                let _ = write!(rest, "{key}='{value}' ");
            }
        }
        Ok(rest)
    }

    /// Whether `key` is not the driver's.
    fn take(&mut self, key: &str, value: &str) -> Result<bool> {
        let unreadable = |instead: &str| {
            Err(Error::invalid(format!("the connection string has {key}={value}: {instead}")))
        };
        match (key, value) {
            // Whatever is encrypted is checked in full.
            ("sslmode", "verify-full") => self.encrypts = true,
            ("sslmode", "verify-ca") => {
                return unreadable("use verify-full, which checks the name of the host too");
            }
            ("sslmode", "allow") => return unreadable("use prefer or require"),
            ("sslrootcert", "")
            | ("gssencmode", "" | "disable" | "prefer")
            | ("client_encoding", "auto") => {}
            ("sslrootcert", "system") => self.roots = Some(Roots::System),
            ("sslrootcert", path) => self.roots = Some(Roots::File(path.into())),
            ("target_session_attrs", "primary") => {
                self.session = Some(TargetSessionAttrs::ReadWrite);
            }
            ("target_session_attrs", "standby") => {
                self.session = Some(TargetSessionAttrs::ReadOnly);
            }
            ("target_session_attrs", "prefer-standby") => {
                return unreadable("use any, read-write, read-only, primary or standby");
            }
            ("fallback_application_name", name) => self.fallback_name = Some(name.to_owned()),
            ("gssencmode", _) => return unreadable("there is no GSSAPI, use disable or prefer"),
            ("client_encoding", encoding) => {
                let plain = encoding.replace(['-', '_'], "").to_ascii_lowercase();
                if plain != "utf8" && plain != "unicode" {
                    return unreadable("texts are sent as UTF8");
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The keys and values of `key = value key='quoted \'value\''`; `None` if it is something else.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut chars = text.trim().chars().peekable();
    while chars.peek().is_some() {
        let mut key = String::new();
        while let Some(next) = chars.next_if(|next| *next != '=') {
            key.push(next);
        }
        chars.next()?;
        while chars.next_if(|next| next.is_whitespace()).is_some() {}
        let is_quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                Some('\\') => value.push(chars.next()?),
                Some('\'') if is_quoted => break,
                Some(next) if !is_quoted && next.is_whitespace() => break,
                Some(next) => value.push(next),
                None if is_quoted => return None,
                None => break,
            }
        }
        while chars.next_if(|next| next.is_whitespace()).is_some() {}
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return None;
        }
        pairs.push((key.to_owned(), value));
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslMode;

    use super::*;

    #[test]
    fn both_forms_are_read_beyond_the_driver() {
        let url = "postgres://u:p%27w@h:5433/d?sslmode=verify-full&sslrootcert=%2Fa%20b.pem&\
                   target_session_attrs=primary&fallback_application_name=shop&gssencmode=prefer&\
                   client_encoding=UTF-8&connect_timeout=3";
        let keys = "host = h port=5433 user=u password='p\\'w' dbname=d sslmode=verify-full \
                    sslrootcert='/a b.pem' target_session_attrs=primary fallback_application_name=shop \
                    gssencmode=prefer client_encoding=utf8 connect_timeout=3";
        let (config, roots) = parse(url).unwrap();
        assert_eq!((config.clone(), roots.clone()), parse(keys).unwrap());
        assert_eq!(roots, Some(Roots::File("/a b.pem".into())));
        assert_eq!(config.get_password(), Some(&b"p'w"[..]));
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(config.get_application_name(), Some("shop"));
        let (named, _) =
            parse("host=h application_name=own fallback_application_name=shop").unwrap();
        assert_eq!(named.get_application_name(), Some("own"));
        let (system, roots) = parse("postgresql://h?sslrootcert=system").unwrap();
        assert_eq!((system.get_ssl_mode(), roots), (SslMode::Prefer, Some(Roots::System)));
    }

    #[test]
    fn what_is_read_by_the_driver_is_read_as_before() {
        for text in [
            "postgres://u:p%20w@h1:1,h2:2/d?target_session_attrs=read-write&sslmode=disable",
            "postgres://",
            "postgres://u:p?w@h/d?sslmode=disable",
            "postgres:///d?host=/run",
            "host=h1,h2 port=1,2 password='a b\\\\c' options='-c a=b'",
            "  host = h  user= 'x' ",
            "password=a\\ b host=h",
            "",
        ] {
            let (config, roots) = parse(text).unwrap();
            assert_eq!(config, text.parse().unwrap(), "{text}");
            assert_eq!(roots, None);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_and_passwords_are_not() {
        for (text, named) in [
            ("password=hunter2 sslmode=verify-ca", "verify-full"),
            ("postgres://u:hunter2@h?sslmode=allow", "sslmode=allow"),
            ("postgres://u:hunter2@h?target_session_attrs=prefer-standby", "prefer-standby"),
            ("host=h password=hunter2 gssencmode=require", "gssencmode"),
            ("host=h password=hunter2 client_encoding=LATIN1", "client_encoding"),
            ("host=h password=hunter2 passfile=/x", "passfile"),
            ("host=h password='hunter2", "invalid connection string"),
            ("host", "invalid connection string"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
            assert!(error.to_string().contains(named), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
