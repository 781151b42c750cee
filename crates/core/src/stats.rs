//! Counters under the names Linux gives them (`/proc/net/snmp`, `/proc/net/netstat`), and our own drops.

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$fdoc])* pub $field: u64,)* }

        impl $name {
            /// Every counter with its Linux name.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($label, self.$field),)*].into_iter()
            }
        }
    };
}

counters! {
    /// What a stack has counted since it was made. All counters only grow, the two gauges excepted
    /// (`curr_estab`, `time_wait`).
    Stats {
        /// IP packets received.
        ip_in_receives = "IpInReceives",
        /// IP packets handed to a protocol.
        ip_in_delivers = "IpInDelivers",
        /// IP packets with a bad header.
        ip_in_hdr_errors = "IpInHdrErrors",
        /// IP packets for an address that is not ours.
        ip_in_addr_errors = "IpInAddrErrors",
        /// IP packets of a protocol that is not TCP or ICMP.
        ip_in_unknown_protos = "IpInUnknownProtos",
        /// IP packets dropped for another reason.
        ip_in_discards = "IpInDiscards",
        /// IP packets sent.
        ip_out_requests = "IpOutRequests",
        /// IP packets dropped on the way out.
        ip_out_discards = "IpOutDiscards",
        /// IP packets without a route.
        ip_out_no_routes = "IpOutNoRoutes",
        /// Fragments received.
        ip_reasm_reqds = "IpReasmReqds",
        /// Packets put together.
        ip_reasm_oks = "IpReasmOKs",
        /// Packets that were not put together.
        ip_reasm_fails = "IpReasmFails",
        /// Packets given up because a fragment did not come in time.
        ip_reasm_timeout = "IpReasmTimeout",
        /// ICMP messages received.
        icmp_in_msgs = "IcmpInMsgs",
        /// ICMP messages with an error.
        icmp_in_errors = "IcmpInErrors",
        /// ICMP messages sent.
        icmp_out_msgs = "IcmpOutMsgs",
        /// ICMP messages not sent because of the rate limit.
        icmp_out_ratelimit = "IcmpOutRateLimitGlobal",
        /// Connections opened actively.
        active_opens = "TcpActiveOpens",
        /// Connections opened passively.
        passive_opens = "TcpPassiveOpens",
        /// Attempts that failed.
        attempt_fails = "TcpAttemptFails",
        /// Connections that went from ESTABLISHED or CLOSE-WAIT to CLOSED.
        estab_resets = "TcpEstabResets",
        /// Connections in ESTABLISHED or CLOSE-WAIT now.
        curr_estab = "TcpCurrEstab",
        /// Segments received, each segment of a super-segment counted.
        in_segs = "TcpInSegs",
        /// Segments sent, without retransmissions, each segment of a super-segment counted.
        out_segs = "TcpOutSegs",
        /// Segments retransmitted.
        retrans_segs = "TcpRetransSegs",
        /// Segments received with an error.
        in_errs = "TcpInErrs",
        /// Segments received with a bad checksum.
        in_csum_errors = "TcpInCsumErrors",
        /// Segments sent with RST.
        out_rsts = "TcpOutRsts",
        /// SYN cookies sent.
        syncookies_sent = "SyncookiesSent",
        /// SYN cookies that came back well.
        syncookies_recv = "SyncookiesRecv",
        /// SYN cookies that came back wrong.
        syncookies_failed = "SyncookiesFailed",
        /// Times a listener's accept queue was full.
        listen_overflows = "ListenOverflows",
        /// SYNs and final ACKs a listener dropped.
        listen_drops = "ListenDrops",
        /// SYNs dropped because the SYN queue was full and cookies are off.
        tcp_req_q_full_drop = "TCPReqQFullDrop",
        /// SYNs answered by cookies because the SYN queue was full.
        tcp_req_q_full_do_cookies = "TCPReqQFullDoCookies",
        /// Connections reset because the accept queue was full (`tcp_abort_on_overflow`).
        tcp_abort_on_overflow = "TCPAbortOnListenOverflow",
        /// SYNs that were parked until their owner answers.
        syns_parked = "SynsParked",
        /// SYNs that came again while they were parked.
        syns_parked_again = "SynsParkedAgain",
        /// SYNs that were dropped because their owner gave no credit to park them.
        syns_park_full = "SynsParkFull",
        /// Parked SYNs whose handshake went on.
        parked_accepted = "ParkedAccepted",
        /// Parked SYNs answered by a RST.
        parked_refused = "ParkedRefused",
        /// Parked SYNs answered by an ICMP error.
        parked_unreachable = "ParkedUnreachable",
        /// Parked SYNs that were left without an answer.
        parked_dropped = "ParkedDropped",
        /// Parked SYNs that their peer gave up, by a RST or by a new SYN.
        parked_reset = "ParkedReset",
        /// Parked SYNs that their owner did not answer in time.
        parked_timeouts = "ParkedTimeouts",
        /// TIME-WAIT entries that ended by time.
        tw = "TW",
        /// TIME-WAIT entries taken over by a newer connection.
        tw_recycled = "TWRecycled",
        /// TIME-WAIT entries that exist now.
        time_wait = "TimeWait",
        /// TIME-WAIT entries refused because of `tcp_max_tw_buckets`.
        tcp_time_wait_overflow = "TCPTimeWaitOverflow",
        /// Segments refused by PAWS.
        paws_estab_rejected = "PAWSEstab",
        /// SYNs in TIME-WAIT refused by RFC 6191.
        paws_active_rejected = "PAWSActive",
        /// Delayed ACKs sent.
        delayed_acks = "DelayedACKs",
        /// Duplicates that made quick-ACK mode be entered.
        delayed_ack_lost = "DelayedACKLost",
        /// Segments that header prediction took.
        tcp_hp_hits = "TCPHPHits",
        /// Pure ACKs received.
        tcp_pure_acks = "TCPPureAcks",
        /// Pure ACKs that header prediction took.
        tcp_hp_acks = "TCPHPAcks",
        /// Recoveries entered by SACK.
        tcp_sack_recovery = "TCPSackRecovery",
        /// Recoveries entered by duplicate ACKs.
        tcp_reno_recovery = "TCPRenoRecovery",
        /// Receivers that dropped what they had SACKed.
        tcp_sack_reneging = "TCPSACKReneging",
        /// Fast retransmissions.
        tcp_fast_retrans = "TCPFastRetrans",
        /// Retransmissions in slow start after a time-out.
        tcp_slow_start_retrans = "TCPSlowStartRetrans",
        /// Retransmission time-outs.
        tcp_timeouts = "TCPTimeouts",
        /// Tail loss probes sent.
        tcp_loss_probes = "TCPLossProbes",
        /// Losses that a tail loss probe repaired.
        tcp_loss_probe_recovery = "TCPLossProbeRecovery",
        /// Time-outs found spurious.
        tcp_spurious_rtos = "TCPSpuriousRTOs",
        /// Congestion reductions undone.
        tcp_full_undo = "TCPFullUndo",
        /// D-SACKs received.
        tcp_dsack_recv = "TCPDSACKRecv",
        /// D-SACKs sent for data below RCV.NXT.
        tcp_dsack_old_sent = "TCPDSACKOldSent",
        /// D-SACKs sent for data out of order.
        tcp_dsack_ofo_sent = "TCPDSACKOfoSent",
        /// Segments queued out of order.
        tcp_ofo_queue = "TCPOFOQueue",
        /// Bytes of out-of-order data dropped for lack of memory.
        tcp_ofo_drop = "TCPOFODrop",
        /// Out-of-order data pruned.
        ofo_pruned = "OfoPruned",
        /// Times a receive buffer was collapsed.
        rcv_collapsed = "TCPRcvCollapsed",
        /// Segments dropped because the receive window was full.
        tcp_rcv_q_drop = "TCPRcvQDrop",
        /// Segments dropped because they lay beyond the window, or reached beyond it.
        tcp_beyond_window = "BeyondWindow",
        /// Challenge ACKs sent.
        tcp_challenge_ack = "TCPChallengeACK",
        /// SYNs that drew a challenge ACK.
        tcp_syn_challenge = "TCPSYNChallenge",
        /// ACKs not sent because of the rate limit.
        tcp_ack_skipped = "TCPACKSkippedChallenge",
        /// Window announcements of zero.
        tcp_to_zero_window_adv = "TCPToZeroWindowAdv",
        /// Window announcements that reopened it.
        tcp_from_zero_window_adv = "TCPFromZeroWindowAdv",
        /// Zero-window probes sent.
        tcp_win_probe = "TCPWinProbe",
        /// Keep-alive probes sent.
        tcp_keep_alive = "TCPKeepAlive",
        /// Connections aborted because data arrived after close.
        tcp_abort_on_data = "TCPAbortOnData",
        /// Connections aborted because unread data was left at close.
        tcp_abort_on_close = "TCPAbortOnClose",
        /// Connections aborted by SO_LINGER {1, 0}.
        tcp_abort_on_linger = "TCPAbortOnLinger",
        /// Connections aborted for lack of memory.
        tcp_abort_on_memory = "TCPAbortOnMemory",
        /// Connections given up because the peer was silent.
        tcp_abort_on_timeout = "TCPAbortOnTimeout",
        /// RSTs that could not be sent.
        tcp_abort_failed = "TCPAbortFailed",
        /// Fast Open: SYNs with data accepted.
        tcp_fastopen_passive = "TCPFastOpenPassive",
        /// Fast Open: SYNs with data that a former key still opened.
        tcp_fastopen_passive_alt_key = "TCPFastOpenPassiveAltKey",
        /// Fast Open: SYNs whose cookie was wrong, or that could not be served.
        tcp_fastopen_passive_fail = "TCPFastOpenPassiveFail",
        /// Fast Open: SYNs refused because too many were pending.
        tcp_fastopen_listen_overflow = "TCPFastOpenListenOverflow",
        /// Fast Open: SYNs that asked for a cookie.
        tcp_fastopen_cookie_reqd = "TCPFastOpenCookieReqd",
        /// Fast Open: SYNs with data acknowledged by the peer.
        tcp_fastopen_active = "TCPFastOpenActive",
        /// Fast Open: SYNs whose data the peer did not take.
        tcp_fastopen_active_fail = "TCPFastOpenActiveFail",
        /// Fast Open: times that it was switched off toward a server that loses such SYNs.
        tcp_fastopen_blackhole = "TCPFastOpenBlackhole",
        /// Segments of the wire dropped because their TTL was below IP_MINTTL.
        tcp_min_ttl_drop = "TCPMinTTLDrop",
        /// Segments without a signature from a peer that has a key (RFC 2385).
        tcp_md5_not_found = "TCPMD5NotFound",
        /// Segments with a signature from a peer that has no key.
        tcp_md5_unexpected = "TCPMD5Unexpected",
        /// Segments whose signature is wrong.
        tcp_md5_failure = "TCPMD5Failure",
        /// Segments with malformed options.
        tcp_bad_options = "TCPBadOptions",
        /// Path MTUs lowered by ICMP.
        tcp_mtu_lowered = "TCPMTULowered",
        /// Probes of the path MTU that were lost.
        tcp_mtup_fail = "TCPMTUPFail",
        /// Probes of the path MTU that arrived.
        tcp_mtup_success = "TCPMTUPSuccess",
        /// ICMP errors refused by RFC 5927's checks.
        tcp_icmp_out_of_window = "OutOfWindowIcmps",
        /// RSTs not sent because of the rate limit.
        tcp_rst_ratelimit = "TCPRstRateLimit",
        /// Packets a device or a full queue dropped, as reported to the stack.
        device_drops = "DeviceDrops",
    }
}
