//! Names that the runner of the kernel's own tests defines for its scripts, one set for each IP version: what its
//! command line gives with `-D`.

/// What stands for what, for `--ip_version=VERSION` as the command line or else the script itself says it. The
/// Fast Open cookies are those for the usual addresses under the key of `defaults.sh` and under a key of zeros.
pub fn suite_names(version: Option<&str>, text: &str) -> Vec<(String, String)> {
    let version = version.or_else(|| {
        let said = text.lines().find_map(|line| line.trim().strip_prefix("--ip_version="));
        said.and_then(|rest| rest.split_whitespace().next())
    });
    let (cookies, level, kind) = match version {
        Some("ipv6") => (["bab7e025ce775b94", "5e723b711bab835f"], "SOL_IPV6", "IPV6_RECVERR"),
        Some("ipv4-mapped-ipv6" | "ipv4_mapped_ipv6") => {
            (["3021b9d889017eeb", "b7c12350a90dc8f5"], "SOL_IPV6", "IPV6_RECVERR")
        }
        _ => (["3021b9d889017eeb", "b7c12350a90dc8f5"], "SOL_IP", "IP_RECVERR"),
    };
    let names = ["TFO_COOKIE", "TFO_COOKIE_ZERO", "CMSG_LEVEL_IP", "CMSG_TYPE_RECVERR"];
    let values = [cookies[0], cookies[1], level, kind];
    names.into_iter().zip(values).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
