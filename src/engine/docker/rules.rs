//! The packet filter's rules of an isolated network, as a script for the engine's machine. Docker keeps containers of a
//! network apart (`enable_icc=false`), but has nothing against their reaching the machine itself or what it routes to:
//! <https://docs.docker.com/engine/network/packet-filtering-firewalls/> leaves that to rules in `DOCKER-USER` and `INPUT`.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// What the script prints at its end.
pub(super) const DONE: &str = "kosuke: rules are set";

/// Takes away the rules of networks that are gone: those have no interface any more.
const CLEAN_UP: &str = r"for name in $(iptables -w 5 -S | sed -n 's/^-N KOSUKE-F-//p'); do
  [ -e /sys/class/net/br-$name ] || [ -e /sys/class/net/$name ] || {
    iptables -w 5 -D DOCKER-USER -i br-$name -j KOSUKE-F-$name; iptables -w 5 -D INPUT -i br-$name -j KOSUKE-I-$name
    for chain in KOSUKE-F-$name KOSUKE-I-$name; do iptables -w 5 -F $chain; iptables -w 5 -X $chain; done
  } 2>/dev/null || true
done
";

/// What is not the internet: <https://www.iana.org/assignments/iana-ipv4-special-registry/>. Cloud machines tell their
/// secrets at 169.254.169.254.
const PRIVATE: [&str; 9] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
];

/// What the rules are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// The network's interface on the engine's machine.
    pub(super) bridge: String,
    /// Containers on the network that are no previews and may reach everything: the agent's, the database server's.
    pub(super) trusted: Vec<IpAddr>,
    /// What everything on the network may reach.
    pub(super) peers: Vec<SocketAddr>,
}

impl Rules {
    /// A shell script that sets them, in the place of those that it set before.
    pub(super) fn script(&self) -> String {
        let bridge = &self.bridge;
        // The kernel allows 28 characters.
        let suffix = bridge.trim_start_matches("br-");
        let (forward, input) = (format!("KOSUKE-F-{suffix}"), format!("KOSUKE-I-{suffix}"));
        let mut lines = format!("*filter\n:{forward} -\n:{input} -\n");
        self.allow(&mut lines, &forward);
        self.allow(&mut lines, &input);
        _ = writeln!(lines, "-A {forward} -o {bridge} -j REJECT");
        for chain in [&forward, &input] {
            // Resolvers are often private.
            for protocol in ["udp", "tcp"] {
                _ = writeln!(lines, "-A {chain} -p {protocol} --dport 53 -j RETURN");
            }
        }
        for network in PRIVATE {
            _ = writeln!(lines, "-A {forward} -d {network} -j REJECT");
        }
        _ = writeln!(lines, "-A {input} -j REJECT");
        let jump = |chain: &str, to: &str| {
            format!(
                "iptables -w 5 -C {chain} -i {bridge} -j {to} 2>/dev/null || iptables -w 5 -I {chain} -i {bridge} -j {to}\n"
            )
        };
        format!(
            "set -e\niptables -w 5 -n -L DOCKER-USER >/dev/null\niptables-restore -w 5 --noflush <<'RULES'\n{lines}COMMIT\n\
             RULES\n{}{}{CLEAN_UP}echo '{DONE}'\n",
            jump("DOCKER-USER", &forward),
            jump("INPUT", &input)
        )
    }

    fn allow(&self, lines: &mut String, chain: &str) {
        _ = writeln!(lines, "-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
        for address in self.trusted.iter().filter(|address| address.is_ipv4()) {
            _ = writeln!(lines, "-A {chain} -s {address}/32 -j ACCEPT");
        }
        for peer in self.peers.iter().filter(|peer| peer.is_ipv4()) {
            _ = writeln!(lines, "-A {chain} -d {}/32 -p tcp --dport {} -j ACCEPT", peer.ip(), peer.port());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_stands_before_what_is_not() {
        let rules = Rules {
            bridge: "br-0123456789ab".into(),
            trusted: vec![[172, 20, 0, 2].into()],
            peers: vec![SocketAddr::from(([172, 20, 0, 1], 5432))],
        };
        let script = rules.script();
        let at = |text: &str| script.find(text).unwrap_or(usize::MAX);
        assert!(at("-s 172.20.0.2/32 -j ACCEPT") < at("-d 169.254.0.0/16 -j REJECT"));
        assert!(
            at("-A KOSUKE-I-0123456789ab -d 172.20.0.1/32 -p tcp --dport 5432") < at("KOSUKE-I-0123456789ab -j REJECT")
        );
        assert!(at("-I DOCKER-USER -i br-0123456789ab -j KOSUKE-F-0123456789ab") < at(DONE));
        assert!("KOSUKE-F-0123456789ab".len() <= 28);
        assert_eq!(script, rules.script());
    }
}
