//! `--link` between our stack and the kernel: as long and as narrow as asked for, and what it loses is told.

use super::lab::{Lab, OURS, PORT};

/// The round trip and the rate that the kernel's TCP sees are those that were asked for. Lower bounds hold always, the upper
/// ones allow for a busy machine.
#[test]
fn the_kernel_sees_the_link_that_was_asked_for() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--source", "1000000", "--link", "up:delay=15ms,down:delay=10ms,rate=10mbit"]);
    let script = "import socket, sys, time\n\
        rtts = []\n\
        for i in range(5):\n\
        \x20   t = time.monotonic(); s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
        \x20   rtts.append(time.monotonic() - t); s.close()\n\
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
        n = len(s.recv(1)); t = time.monotonic()\n\
        while True:\n\
        \x20   got = len(s.recv(1 << 20)); n += got\n\
        \x20   if not got: break\n\
        print(min(rtts), n, time.monotonic() - t)\n";
    let text = lab.python(script, &[OURS, &PORT.to_string()]);
    let numbers: Vec<f64> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let [rtt, bytes, seconds] = numbers[..] else { panic!("{text}") };
    assert!((0.025..0.045).contains(&rtt), "round trip {rtt} s");
    assert_eq!(bytes, 1e6);
    let asked = 1e6 * 8.0 / 10e6;
    assert!((asked * 0.98..asked * 1.6).contains(&seconds), "{seconds} s, {asked} s at the rate");
    server.stop();
}

/// Every byte comes through a link that loses in both directions, and the losses are counted and told.
#[test]
fn losses_are_told() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--echo", "--link", "delay=2ms,loss=2%,seed=4"]);
    let script = "import socket, sys, threading\n\
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
        data = bytes(i * 7 % 251 for i in range(500000))\n\
        def send():\n\
        \x20   s.sendall(data); s.shutdown(socket.SHUT_WR)\n\
        t = threading.Thread(target=send); t.start()\n\
        got = b''\n\
        while True:\n\
        \x20   part = s.recv(1 << 20)\n\
        \x20   if not part: break\n\
        \x20   got += part\n\
        t.join(); print(got == data)\n";
    assert_eq!(lab.python(script, &[OURS, &PORT.to_string()]).trim(), "True");
    let events = server.stop();
    let link = events.iter().find(|e| e["event"] == "link").expect("the link is told of");
    for way in ["up", "down"] {
        let n = |name: &str| link[way][name].as_u64().expect("a number");
        assert!(n("offered") >= 345 && n("lost") > 0 && n("delivered") == n("offered") - n("lost"), "{link}");
    }
}
