//! Why a packet is not taken: each reason is a drop counter.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Why a packet was dropped before anything of the stack looked at it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Malformed {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Malformed {
            /// Every reason; a reason's place here is `reason as usize`.
            pub const ALL: &'static [Malformed] = &[$(Malformed::$name,)+];

            /// The name of its counter.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Malformed::$name => $text,)+
                }
            }
        }
    };
}

reasons! {
    /// The packet ends inside a header.
    TooShort = "too_short",
    /// Neither IPv4 nor IPv6.
    BadVersion = "bad_version",
    /// An IPv4 header length below 20 bytes, or beyond the total length.
    BadHeaderLength = "bad_header_length",
    /// The IP length field says more than there is, less than the header, or a super-segment's says anything but what there is.
    BadTotalLength = "bad_total_length",
    /// The IPv4 header checksum does not verify.
    BadHeaderChecksum = "bad_header_checksum",
    /// An IPv4 option whose length is below its minimum or runs over the header.
    BadIpOption = "bad_ip_option",
    /// An IPv4 source route that this host would have to carry on.
    SourceRouted = "source_routed",
    /// An IPv6 extension header that runs over the packet, or with a field that is not allowed.
    BadExtensionHeader = "bad_extension_header",
    /// An IPv6 option that is not known and says to discard the packet.
    UnknownOption = "unknown_option",
    /// More IPv6 extension headers, or longer ones, than are walked.
    TooManyExtensionHeaders = "too_many_extension_headers",
    /// An IPv6 packet that says that it holds nothing (next header 59).
    NoNextHeader = "no_next_header",
    /// A fragment of no bytes, or one not the last whose length is no multiple of eight.
    BadFragment = "bad_fragment",
    /// A fragment that ends beyond 65,535 bytes.
    FragmentTooLong = "fragment_too_long",
    /// A first fragment without the whole transport header, or an IPv4 one that could rewrite it (RFC 1858, RFC 8200 4.5).
    TinyFragment = "tiny_fragment",
    /// A TCP data offset below five or beyond the segment.
    BadDataOffset = "bad_data_offset",
    /// The TCP checksum does not verify.
    BadTcpChecksum = "bad_tcp_checksum",
    /// The ICMP checksum does not verify.
    BadIcmpChecksum = "bad_icmp_checksum",
    /// An ICMP error whose quoted packet is too short or no IP packet.
    BadIcmpQuote = "bad_icmp_quote",
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
