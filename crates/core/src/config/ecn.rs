//! Explicit congestion notification, classic (RFC 3168) and accurate (RFC 9768).

/// Explicit congestion notification (`tcp_ecn`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ecn {
    /// Neither asked for nor accepted (0).
    Off,
    /// Asked for and accepted (1).
    Request,
    /// Accepted when the peer asks (2).
    #[default]
    Accept,
    /// Accurate ECN (RFC 9768) asked for and accepted, and RFC 3168's where the peer has no more (3).
    Accurate,
    /// RFC 3168's asked for; accurate ECN accepted (4).
    RequestAcceptAccurate,
    /// Nothing asked for; accurate ECN accepted (5).
    AcceptAccurate,
}

impl Ecn {
    /// The setting of `tcp_ecn`'s number.
    pub const fn from_number(number: u8) -> Option<Ecn> {
        Some(match number {
            0 => Ecn::Off,
            1 => Ecn::Request,
            2 => Ecn::Accept,
            3 => Ecn::Accurate,
            4 => Ecn::RequestAcceptAccurate,
            5 => Ecn::AcceptAccurate,
            _ => return None,
        })
    }

    /// Whether SYNs ask for RFC 3168's ECN.
    pub const fn asks(self) -> bool {
        matches!(self, Ecn::Request | Ecn::RequestAcceptAccurate)
    }

    /// Whether SYNs ask for accurate ECN.
    pub const fn asks_accurate(self) -> bool {
        matches!(self, Ecn::Accurate)
    }

    /// Whether accurate ECN is accepted.
    pub const fn accepts_accurate(self) -> bool {
        matches!(self, Ecn::Accurate | Ecn::RequestAcceptAccurate | Ecn::AcceptAccurate)
    }
}
