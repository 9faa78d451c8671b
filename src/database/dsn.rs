//! Reads a DSN. The driver knows no `sslrootcert` and only some values of `sslmode`, so both are read here.

use std::path::PathBuf;

use regex::Regex;
use tokio_postgres::Config;

use super::tls::Tls;
use crate::settings::InvalidSetting;

const FIELD: &str = "preview_postgres_url";

/// Reads a DSN: a URL, or words (`host=... dbname=...`).
///
/// # Errors
/// [`InvalidSetting`]; it never repeats the DSN, which may hold a password.
pub(super) fn parse(dsn: &str) -> Result<(Config, Tls), InvalidSetting> {
    let wrong = |problem: &str| InvalidSetting { field: FIELD, problem: problem.to_owned() };
    let is_url = dsn.starts_with("postgres://") || dsn.starts_with("postgresql://");
    let (rest, ours) = if is_url { split_url(dsn) } else { split_words(dsn) };
    let config: Config = rest.parse().map_err(|_| wrong("is not a Postgres connection URL"))?;
    let (mut mode, mut roots) = (None, None);
    for (name, value) in ours {
        match name.as_str() {
            "sslmode" => mode = Some(value),
            _ => roots = Some(value),
        }
    }
    // As in libpq, `system` and an empty path mean the machine's own certificates.
    let roots = roots.filter(|path| !path.is_empty() && path != "system").map(PathBuf::from);
    let tls = Tls::of(mode.as_deref(), roots)
        .ok_or_else(|| wrong("sslmode must be disable, allow, prefer, require, verify-ca or verify-full"))?;
    Ok((config, tls))
}

type Parameters = Vec<(String, String)>;

fn is_ours(name: &str) -> bool {
    matches!(name, "sslmode" | "sslrootcert")
}

fn split_url(url: &str) -> (String, Parameters) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), Vec::new()) };
    let pairs = query.split('&').map(|pair| (pair, pair.split_once('=').unwrap_or((pair, ""))));
    let (ours, rest): (Vec<_>, Vec<_>) = pairs.partition(|(_, (name, _))| is_ours(name));
    let rest: Vec<_> = rest.into_iter().map(|(pair, _)| pair).collect();
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    (url, ours.into_iter().map(|(_, (name, value))| (name.to_owned(), unescape(value))).collect())
}

/// A quoted value may hold what looks like another word, so each word is read as a whole.
fn split_words(dsn: &str) -> (String, Parameters) {
    let Ok(word) = Regex::new(r"(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s\\]|\\.)*))") else {
        return (dsn.to_owned(), Vec::new());
    };
    let (mut rest, mut ours) = (dsn.to_owned(), Vec::new());
    for found in word.captures_iter(dsn) {
        if is_ours(&found[1]) {
            let value = found.get(2).or(found.get(3)).map_or("", |value| value.as_str());
            ours.push((found[1].to_owned(), value.replace('\\', "")));
            rest = rest.replace(&found[0], "");
        }
    }
    (rest, ours)
}

/// `%2F` to `/`; a `%` that begins no escape stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escaped = rest.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(b'%'));
        rest = &rest[at + if escaped.is_some() { 3 } else { 1 }..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_not_repeated() {
        for dsn in
            ["postgresql://u:secret@:bad:port/", "postgresql://u:secret@h/d?sslmode=no", "password=secret sslmode=no"]
        {
            let error = parse(dsn).map(|_| ()).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|text| !text.contains("secret")), "{error:?}");
        }
    }

    #[test]
    fn the_roots_are_read_from_urls_and_words() -> Result<(), InvalidSetting> {
        for dsn in [
            "postgresql://u@h/db?sslrootcert=%2Fa%20b%2Froot.crt&sslmode=verify-full&connect_timeout=3",
            "host=h sslmode = verify-full sslrootcert='/a b/root.crt' dbname=db",
        ] {
            let (config, tls) = parse(dsn)?;
            assert_eq!(config.get_dbname(), Some("db"));
            assert_eq!(Some(tls), Tls::of(Some("verify-full"), Some("/a b/root.crt".into())), "{dsn}");
        }
        let (config, tls) = parse("host=h password='x sslmode=disable' dbname=db")?;
        assert_eq!(config.get_password(), Some(b"x sslmode=disable".as_slice()));
        assert_eq!(Some(tls), Tls::of(None, None));
        Ok(())
    }

    #[test]
    fn escapes_are_read() {
        assert_eq!(unescape("%2Fa%zz%"), "/a%zz%");
        assert_eq!(unescape("é%C3%A9"), "éé");
    }
}
