//! The system calls that a preview may make: a seccomp profile in the engine's form.
//! <https://docs.docker.com/engine/security/seccomp/>
//!
//! Docker has no mount option and no capability that keeps root in a container from making a setuid file in a folder of
//! the host, so the calls that set those bits are refused by their arguments: `chmod` and its kin, and `open`, `creat` and
//! `mknod` with such a mode. (`open` passes no mode unless it makes a file, so what stands there then does not count.)
//! A profile takes the place of the engine's own, so this one also refuses what that refuses, and more: `ptrace`,
//! `io_uring` (it makes files past seccomp), `openat2` (its mode is in memory; programs fall back to `openat`), keyrings,
//! `bpf`, namespaces, mounts, and sockets of the kernel's crypto API (38) and of virtual machines (40). What it does not
//! name is refused with EPERM. Names that an older libseccomp does not know are left out by the engine.

/// The profile.
pub(super) const PROFILE: &str = include_str!("seccomp.json");

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SETUID_AND_SETGID: u64 = 0o6000;

    /// The index of an argument, a value and an operator.
    type Condition = (u64, u64, String);

    /// The rules that allow this call, each with its conditions.
    fn rules(name: &str) -> Result<Vec<Vec<Condition>>, serde_json::Error> {
        let profile: Value = serde_json::from_str(PROFILE)?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let allowed = list(&profile["syscalls"]).into_iter().filter(|rule| {
            rule["action"] == "SCMP_ACT_ALLOW" && list(&rule["names"]).iter().any(|one| one.as_str() == Some(name))
        });
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let condition = |value: &Value| (number(&value["index"]), number(&value["value"]), value["op"].to_string());
        Ok(allowed.map(|rule| list(&rule["args"]).iter().map(condition).collect()).collect())
    }

    #[test]
    fn no_call_that_sets_a_mode_is_allowed_without_a_look_at_it() -> Result<(), serde_json::Error> {
        for (name, mode) in
            [("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("fchmodat2", 2), ("creat", 1), ("mknod", 1), ("mknodat", 2)]
        {
            let expected = vec![vec![(mode, SETUID_AND_SETGID, "\"SCMP_CMP_MASKED_EQ\"".to_owned())]];
            assert_eq!(rules(name)?, expected, "{name}");
        }
        for (name, mode) in [("open", 2), ("openat", 3)] {
            let found = rules(name)?;
            assert!(found.iter().flatten().any(|(index, value, _)| (*index, *value) == (mode, SETUID_AND_SETGID)));
            // O_CREAT and O_TMPFILE: https://man7.org/linux/man-pages/man2/open.2.html
            assert!(found.iter().flatten().any(|(index, value, _)| (*index, *value) == (mode - 1, 0o20_000_100)));
            assert!(found.len() == 2 && found.iter().all(|conditions| conditions.len() == 1), "{name}");
        }
        Ok(())
    }

    #[test]
    fn the_ways_around_it_are_closed() -> Result<(), serde_json::Error> {
        for name in ["openat2", "io_uring_setup", "ptrace", "mount", "unshare", "setns", "clone3", "open_by_handle_at"]
        {
            assert_eq!(rules(name)?, Vec::<Vec<_>>::new(), "{name}");
        }
        assert_eq!(rules("read")?, vec![vec![]]);
        Ok(())
    }
}
