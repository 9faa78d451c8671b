//! Rules about the values of settings: what a number may be, and what an image may be called.

/// Bytes that Linux takes at the most as one string of a program's environment or arguments, its NUL included.
/// <https://man7.org/linux/man-pages/man2/execve.2.html>
pub const MAX_STRING: usize = 131_072;

/// What a number among the settings may be, both ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    least: f64,
    most: f64,
    /// Whether 0 is taken although it is below: no limit.
    or_zero: bool,
    /// The rule for people.
    pub words: &'static str,
}

const PORT: Bounds = within(1.0, 65535.0, "must be a whole number between 1 and 65535");
const PIDS: Bounds = within(0.0, 4_194_304.0, "must be a whole number between 0 (no limit) and 4194304");
const SHARES: Bounds = or_zero(2.0, 262_144.0, "must be 0 (the engine's own) or a whole number between 2 and 262144");
const CPUS: Bounds = or_zero(0.01, 10_000.0, "must be 0 (no limit) or a number of CPUs between 0.01 and 10000");
const SECONDS: Bounds = within(0.0, YEAR, "must be a number of seconds between 0 and 31536000");
const TIMEOUT: Bounds = within(0.001, YEAR, "must be a number of seconds between 0.001 and 31536000");
const MEMORY: Bounds =
    or_zero(6_291_456.0, MOST_BYTES, "must be 0 (no limit) or between 6m and 1048576g: bytes, or with k, m or g: 512m");
const LOG: Bounds = or_zero(
    1_048_576.0,
    MOST_BYTES,
    "must be 0 (as the engine is set up) or between 1m and 1048576g: bytes, or with k, m or g: 30m",
);
/// More seconds than anybody waits.
const YEAR: f64 = 31_536_000.0;
/// 2^50.
const MOST_BYTES: f64 = 1_125_899_906_842_624.0;

const fn within(least: f64, most: f64, words: &'static str) -> Bounds {
    Bounds { least, most, or_zero: false, words }
}

const fn or_zero(least: f64, most: f64, words: &'static str) -> Bounds {
    Bounds { least, most, or_zero: true, words }
}

impl Bounds {
    /// Those of a setting, or of a start's own limit (`limits.memory`). None: it is no number.
    #[must_use]
    pub fn of(field: &str) -> Option<Self> {
        Some(match field {
            "preview_port"
            | "preview_port_range_start"
            | "preview_port_range_end"
            | "postgres_port"
            | "postgres_container_port"
            | "postgres_connection_limit" => PORT,
            "preview_probe_ttl" | "preview_probe_interval" | "preview_stop_timeout" => SECONDS,
            "preview_probe_timeout"
            | "preview_warmup_timeout"
            | "preview_hook_timeout"
            | "engine_timeout"
            | "engine_heartbeat_interval"
            | "engine_heartbeat_timeout" => TIMEOUT,
            "preview_cpu_shares" => SHARES,
            "preview_cpus" | "limits.cpus" => CPUS,
            "preview_pids" | "limits.pids" => PIDS,
            "preview_memory" | "limits.memory" => MEMORY,
            "preview_log_size" => LOG,
            _ => return None,
        })
    }

    /// Whether the value is inside.
    #[must_use]
    pub fn hold(&self, value: f64) -> bool {
        (self.or_zero && value == 0.0) || (self.least..=self.most).contains(&value)
    }
}

/// Whether the engine takes this as an image: a name as registries have it, with a tag or a digest, or an image's id.
/// <https://pkg.go.dev/github.com/distribution/reference>
///
/// ```
/// use kosuke_docker::rules::is_image;
///
/// assert!(is_image("node:22") && is_image("localhost:5000/team/app@sha256:0123456789abcdef0123456789abcdef"));
/// assert!(!is_image("Foo Bar") && !is_image("Node:22") && !is_image("node:"));
/// ```
#[must_use]
pub fn is_image(text: &str) -> bool {
    let (text, digest) = text.split_once('@').map_or((text, None), |(text, digest)| (text, Some(digest)));
    let (name, tag) = match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    };
    let path = match name.split_once('/') {
        Some((host, path)) if is_registry(host) => path,
        _ => name,
    };
    name.len() <= 255
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(|digest| {
            digest.split_once(':').is_some_and(|(kind, hex)| {
                !kind.is_empty() && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        })
}

/// Whether what stands before the first `/` is a registry's host, and a good one.
fn is_registry(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let is_host = host.contains(['.', ':']) || host == "localhost" || host.chars().any(|c| c.is_ascii_uppercase());
    let is_address = name.starts_with('[') && host.contains(']');
    let good_port = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    is_host && (is_address || (name.split('.').all(is_label) && good_port))
}

/// Lower case letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_component(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(is_plain)
        && text.ends_with(is_plain)
        && text
            .split(is_plain)
            .all(|between| matches!(between, "" | "." | "_" | "__") || between.chars().all(|c| c == '-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(is_word) && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_as_the_engine_reads_them() {
        let id = format!("sha256:{}", "0".repeat(64));
        for good in [
            "node",
            "node:22",
            "a.b/c",
            "team/app__x:v1.0-rc_1",
            "Registry:5000/team/app",
            "[::1]:5000/app",
            "ghcr.io/filopedraz/kosuke-template:v0.0.73",
            &format!("node@{id}"),
            &id,
            "0123456789ab",
        ] {
            assert!(is_image(good), "{good}");
        }
        for bad in [
            "",
            " ",
            "Foo Bar",
            "Node",
            "node:",
            "node:a b",
            "node:-x",
            "-node",
            "a//b",
            "/a",
            "a/",
            "https://a/b",
            "a@b",
            "a___b",
            "a..b",
            "a/B",
            "localhost:/a",
            "node\n",
        ] {
            assert!(!is_image(bad), "{bad}");
        }
        assert!(!is_image(&"a".repeat(256)) && !is_image(&format!("a:{}", "x".repeat(129))));
    }

    #[test]
    fn bounds_hold_their_ends_only() {
        let hold = |field, value| Bounds::of(field).is_some_and(|bounds| bounds.hold(value));
        assert!(hold("preview_port", 1.0) && hold("preview_port", 65535.0));
        assert!(!hold("preview_port", 0.0) && !hold("preview_port", 65536.0) && !hold("preview_port", f64::NAN));
        assert!(hold("preview_cpus", 0.0) && !hold("preview_cpus", 0.001) && !hold("preview_cpus", f64::INFINITY));
        assert!(Bounds::of("preview_network").is_none());
    }
}
