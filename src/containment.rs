//! What holds a preview in: how much it may use, and what it may do. Settings, and what one start changes of them.

use crate::rules::Bounds;

/// Who a preview's processes run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// The owner of the project's folder, where that is not root; else the image's own user.
    Owner,
    /// The image's own user.
    Image,
    /// This user and, after a colon, group: numbers, or names that the image knows.
    Named(String),
}

impl User {
    /// `auto`, `image`, `root`, or a user as the engine reads one.
    #[must_use]
    pub fn from_setting(text: &str) -> Self {
        match text {
            "auto" => Self::Owner,
            "image" => Self::Image,
            "root" => Self::Named("0:0".to_owned()),
            other => Self::Named(other.to_owned()),
        }
    }
}

/// The settings about what a preview may use and do. A number of 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Containment {
    /// `PREVIEW_MEMORY`, bytes. There is no swap beside it.
    pub memory: u64,
    /// `PREVIEW_CPU_SHARES`: the weight against other containers, whose own is 1024.
    pub cpu_shares: u32,
    /// `PREVIEW_CPUS`, in thousandths of one CPU.
    pub cpu_millis: u32,
    /// `PREVIEW_PIDS`: processes and threads.
    pub pids: u32,
    /// `PREVIEW_LOG_SIZE`: bytes of output that the engine keeps.
    pub log_size: u64,
    /// `PREVIEW_USER`
    pub user: User,
    /// `PREVIEW_CAPABILITIES`, without `CAP_`; None: those that the engine gives.
    pub capabilities: Option<Vec<String>>,
    /// `PREVIEW_NO_NEW_PRIVILEGES`: whether a setuid program inside gains nothing.
    pub no_new_privileges: bool,
    /// `PREVIEW_REFUSE_SETUID`: whether no file can be made setuid or setgid.
    pub refuse_setuid: bool,
    /// `PREVIEW_READ_ONLY`: whether only the project's folder and folders in memory can be written to.
    pub read_only: bool,
}

impl Containment {
    /// Checks the rules that the types do not hold.
    ///
    /// # Errors
    /// The field, as the `Settings` field is called, and what is wrong with it.
    pub fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        let user = match &self.user {
            User::Named(name) => is_user(name),
            User::Owner | User::Image => true,
        };
        let names = self.capabilities.iter().flatten().all(|name| is_capability(name));
        number("preview_memory", as_number(self.memory))?;
        number("preview_cpu_shares", f64::from(self.cpu_shares))?;
        number("preview_cpus", f64::from(self.cpu_millis) / 1000.0)?;
        number("preview_pids", f64::from(self.pids))?;
        number("preview_log_size", as_number(self.log_size))?;
        check("preview_user", user, "must be auto, image, root, or a user with an optional group: 1000:1000")?;
        check("preview_capabilities", names, "must be names such as CHOWN, or none, or engine")
    }
}

/// What one start changes of the settings; None: nothing. A number of 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Thousandths of one CPU.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

impl Limits {
    /// Checks the values.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        number("limits.memory", as_number(self.memory.unwrap_or(0)))?;
        number("limits.cpus", f64::from(self.cpu_millis.unwrap_or(0)) / 1000.0)?;
        number("limits.pids", f64::from(self.pids.unwrap_or(0)))
    }
}

fn check(field: &'static str, holds: bool, problem: &'static str) -> Result<(), (&'static str, &'static str)> {
    if holds { Ok(()) } else { Err((field, problem)) }
}

/// What is lost of a number so large is far outside of any bounds.
#[expect(clippy::cast_precision_loss, reason = "it is only compared with bounds that are exact")]
fn as_number(bytes: u64) -> f64 {
    bytes as f64
}

fn number(field: &'static str, value: f64) -> Result<(), (&'static str, &'static str)> {
    Bounds::of(field).map_or(Ok(()), |bounds| check(field, bounds.hold(value), bounds.words))
}

fn is_user(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let (user, group) = text.split_once(':').unwrap_or((text, "0"));
    is_name(user) && is_name(group)
}

fn is_capability(name: &str) -> bool {
    !name.is_empty() && name != "ALL" && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// A number of bytes: digits, with `k`, `m` or `g` (1024 and its powers), and a `b` or `ib` after it.
///
/// ```
/// use kosuke_docker::containment::bytes;
///
/// assert_eq!(bytes("2g"), Some(2 << 30));
/// assert_eq!(bytes("512 MiB"), Some(512 << 20));
/// assert_eq!(bytes("1000"), Some(1000));
/// assert_eq!(bytes("-1"), None);
/// ```
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Thousandths of one CPU; None: not a number that can be a part of CPUs.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Both are excluded before.
pub fn cpu_millis(cpus: f64) -> Option<u32> {
    let millis = (cpus * 1000.0).ceil();
    (0.0..=f64::from(u32::MAX)).contains(&millis).then_some(millis as u32)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// No limit and no wall.
    pub(crate) fn nothing() -> Containment {
        Containment {
            memory: 0,
            cpu_shares: 0,
            cpu_millis: 0,
            pids: 0,
            log_size: 0,
            user: User::Image,
            capabilities: None,
            no_new_privileges: false,
            refuse_setuid: false,
            read_only: false,
        }
    }

    #[test]
    fn the_wrong_field_is_named() {
        type Spoil = fn(&mut Containment);
        let cases: [(&str, Spoil); 9] = [
            ("preview_memory", |c| c.memory = (6 << 20) - 1),
            ("preview_memory", |c| c.memory = u64::MAX),
            ("preview_cpu_shares", |c| c.cpu_shares = 1),
            ("preview_cpus", |c| c.cpu_millis = 9),
            ("preview_pids", |c| c.pids = 4_194_305),
            ("preview_log_size", |c| c.log_size = 1000),
            ("preview_user", |c| c.user = User::Named("a:b:c".into())),
            ("preview_user", |c| c.user = User::Named("-x".into())),
            ("preview_capabilities", |c| c.capabilities = Some(vec!["ALL".into()])),
        ];
        for (field, spoil) in cases {
            let mut containment = nothing();
            assert_eq!(containment.validate(), Ok(()));
            spoil(&mut containment);
            assert_eq!(containment.validate().err().map(|(named, _)| named), Some(field));
        }
    }

    #[test]
    fn a_call_names_its_own_fields() {
        let wrong = |limits: Limits| limits.validate().err().map(|(field, _)| field);
        assert_eq!(wrong(Limits::default()), None);
        assert_eq!(wrong(Limits { memory: Some(0), cpu_millis: Some(0), pids: Some(0) }), None);
        assert_eq!(wrong(Limits { memory: Some(1), ..Limits::default() }), Some("limits.memory"));
        assert_eq!(wrong(Limits { cpu_millis: Some(1), ..Limits::default() }), Some("limits.cpus"));
        assert_eq!(wrong(Limits { pids: Some(u32::MAX), ..Limits::default() }), Some("limits.pids"));
    }

    #[test]
    fn users_and_sizes_as_people_write_them() {
        assert!(["1000", "1000:1000", "node", "node:staff", "_x-1"].iter().all(|user| is_user(user)));
        assert!(["", ":", "1000:", "a b", "a:b:c"].iter().all(|user| !is_user(user)));
        assert_eq!(
            ["1k", "3GB", "7 m", "x", "1t", "", "18446744073709551615g"].map(bytes),
            [Some(1024), Some(3 << 30), Some(7 << 20), None, None, None, None]
        );
        assert_eq!([0.0, 1.5, 0.0001, -1.0, f64::NAN].map(cpu_millis), [Some(0), Some(1500), Some(1), None, None]);
    }
}
