//! Are we in a container, and in which?

/// The container's id in `/proc/self/mountinfo`, None outside of a container. The engine binds `/etc/hostname` (and
/// `hosts`, `resolv.conf`) from the container's own folder; on the host no such mount exists.
/// <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>
pub(super) fn container_id(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        if !matches!(mount_point, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf") {
            return None;
        }
        let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        root.split('/').find(is_id).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_id_is_in_the_mounts_of_a_container_only() {
        let inside = format!(
            "700 680 254:0 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw"
        );
        assert_eq!(container_id(&inside).as_deref(), Some(ID));
        let host = format!("99 29 0:50 / /var/lib/docker/containers/{ID}/mounts/shm rw,nosuid - tmpfs shm rw");
        assert_eq!(container_id(&host), None);
        assert_eq!(container_id("1 2 3:4 /etc/hostname /etc/hostname rw - ext4 /dev/vda rw"), None);
        assert_eq!(container_id(""), None);
    }
}
