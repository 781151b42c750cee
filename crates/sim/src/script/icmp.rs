//! The names of ICMP types and codes (RFC 792, RFC 1122, RFC 1812, RFC 4443).

/// One type under its name: its numbers in both versions, and its codes.
struct Kind {
    name: &'static str,
    v4: Option<u8>,
    v6: Option<u8>,
    v4_codes: &'static [(&'static str, u8)],
    v6_codes: &'static [(&'static str, u8)],
}

const fn plain(name: &'static str, v4: Option<u8>, v6: Option<u8>) -> Kind {
    Kind { name, v4, v6, v4_codes: &[], v6_codes: &[] }
}

static KINDS: &[Kind] = &[
    Kind {
        name: "unreachable",
        v4: Some(3),
        v6: Some(1),
        v4_codes: &[
            ("net_unreachable", 0),
            ("host_unreachable", 1),
            ("protocol_unreachable", 2),
            ("port_unreachable", 3),
            ("frag_needed", 4),
            ("source_route_failed", 5),
            ("net_unknown", 6),
            ("host_unknown", 7),
            ("source_host_isolated", 8),
            ("net_prohibited", 9),
            ("host_prohibited", 10),
            ("net_unreachable_for_service", 11),
            ("net_unreachable_for_tos", 11),
            ("host_unreachable_for_service", 12),
            ("host_unreachable_for_tos", 12),
            ("packet_filtered", 13),
            ("communication_prohibited", 13),
            ("precedence_violation", 14),
            ("precedence_cutoff", 15),
        ],
        v6_codes: &[
            ("no_route", 0),
            ("noroute", 0),
            ("net_unreachable", 0),
            ("admin_prohibited", 1),
            ("adm_prohibited", 1),
            ("not_neighbour", 2),
            ("beyond_scope", 2),
            ("address_unreachable", 3),
            ("addr_unreachable", 3),
            ("host_unreachable", 3),
            ("port_unreachable", 4),
            ("policy_fail", 5),
            ("reject_route", 6),
        ],
    },
    Kind {
        name: "redirect",
        v4: Some(5),
        v6: None,
        v4_codes: &[("net", 0), ("host", 1), ("net_for_tos", 2), ("host_for_tos", 3)],
        v6_codes: &[],
    },
    Kind {
        name: "time_exceeded",
        v4: Some(11),
        v6: Some(3),
        v4_codes: &[
            ("exceeded_in_transit", 0),
            ("ttl", 0),
            ("exceeded_reassembly", 1),
            ("fragment_reassembly", 1),
        ],
        v6_codes: &[
            ("exceeded_in_transit", 0),
            ("ttl", 0),
            ("exceeded_reassembly", 1),
            ("fragment_reassembly", 1),
        ],
    },
    Kind {
        name: "parameter_problem",
        v4: Some(12),
        v6: Some(4),
        v4_codes: &[("pointer", 0), ("missing_option", 1), ("bad_length", 2)],
        v6_codes: &[("header_field", 0), ("unknown_next_header", 1), ("unknown_option", 2)],
    },
    plain("packet_too_big", None, Some(2)),
    plain("source_quench", Some(4), None),
    plain("echo_request", Some(8), Some(128)),
    plain("echo_reply", Some(0), Some(129)),
    plain("timestamp_request", Some(13), None),
    plain("timestamp_reply", Some(14), None),
    plain("information_request", Some(15), None),
    plain("information_reply", Some(16), None),
    plain("address_mask_request", Some(17), None),
    plain("address_mask_reply", Some(18), None),
];

/// Whether this is the name of a type in either version.
pub fn is_type(name: &str) -> bool {
    KINDS.iter().any(|kind| kind.name == name)
}

/// Whether this is a code of that type in either version; numbers up to 255 always are.
pub fn is_code(kind: &str, code: &str) -> bool {
    code.parse::<u8>().is_ok()
        || KINDS
            .iter()
            .filter(|k| k.name == kind)
            .any(|k| k.v4_codes.iter().chain(k.v6_codes).any(|&(name, _)| name == code))
}

/// Type and code on the wire, if this version of ICMP has them. No code is code 0.
pub fn numbers(kind: &str, code: Option<&str>, v6: bool) -> Option<(u8, u8)> {
    let entry = KINDS.iter().find(|k| k.name == kind)?;
    let (number, codes) = if v6 { (entry.v6?, entry.v6_codes) } else { (entry.v4?, entry.v4_codes) };
    let code = match code {
        None => 0,
        Some(code) => match code.parse::<u8>() {
            Ok(code) => code,
            Err(_) => codes.iter().find(|&&(name, _)| name == code)?.1,
        },
    };
    Some((number, code))
}

/// The name of a type.
pub fn name(number: u8, v6: bool) -> Option<&'static str> {
    KINDS.iter().find(|kind| if v6 { kind.v6 } else { kind.v4 } == Some(number)).map(|kind| kind.name)
}
