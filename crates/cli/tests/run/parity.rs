//! The programs of `programs/`, case by case: over the kernel's TCP first, then over ours, where they must find the same.

use crate::kit::{compiled, lacks, missing, parity, run};

macro_rules! cases {
    ($program:ident: $($case:ident),* $(,)?) => {
        mod $program {
            $(#[test]
            fn $case() {
                super::parity(stringify!($program), stringify!($case));
            })*
        }
    };
}

cases!(connect: nonblocking_stages, already, edge, registered_before, refused, again_after_refusal, send_timeout,
    user_timeout, wrong, disconnected, closed_early, threads, fast_open, sendto_connected);
cases!(listen: backlog, listen_twice, would_block, edge, receive_timeout, closed_with_queue, bound_again,
    gone_before_accept, shut_down, names, ipv6, dual_stack, v6only, unbound, unspecified, listener_data);
cases!(data: reset_with_data, reset_without_data, reset_so_error, closed_unread, half_close, shutdown_both, late_data,
    broken_pipe, peek, waitall, out_of_band, out_of_band_inline, receive_timeouts, send_file, spliced, both_ways,
    edge_writer, back_pressure, linger);
cases!(process: forked, prefork, exclusive, duplicates, executed, reset_after_exec, passed_on, spawned, others,
    unshared, no_room);
cases!(signals: accept_interrupted, accept_in_a_storm, receive_interrupted, connect_interrupted, connect_restarted,
    connect_interrupted_again);
cases!(options: known, unknown, after_the_end, info);

/// What a kernel has and we have not: programs are told so and do without.
#[test]
fn rings_and_other_protocols_are_refused() {
    if lacks(missing(&["cc"])) {
        return;
    }
    run(&[], &[&compiled("process", false), "refused"]).is_well();
}
