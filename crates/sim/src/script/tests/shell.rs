use std::time::Duration;

use super::super::shell::{Counters, Nstat, Setting, defaults, parse, resolve};

fn settings(text: &str) -> Vec<Setting> {
    parse(text).unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn sysctl(name: &str, value: &str) -> Setting {
    Setting::Sysctl { name: name.to_owned(), value: value.to_owned() }
}

#[track_caller]
fn refused(text: &str) {
    assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
}

#[test]
fn sysctls_in_each_notation() {
    let ecn = [sysctl("net.ipv4.tcp_ecn", "1")];
    assert_eq!(settings("sysctl -q net.ipv4.tcp_ecn=1"), ecn);
    assert_eq!(settings("sysctl -q -w net.ipv4.tcp_ecn=1 > /dev/null 2>&1"), ecn);
    assert_eq!(settings("sysctl net/ipv4/tcp_ecn = 1 || true"), ecn);
    assert_eq!(settings("echo 1 > /proc/sys/net/ipv4/tcp_ecn"), ecn);
    assert_eq!(settings("../common/set_sysctls.py /proc/sys/net/ipv4/tcp_ecn=1"), ecn);
    let two = [sysctl("net.ipv4.tcp_rmem", "4096 87380 16384"), sysctl("a.b", "x")];
    assert_eq!(settings("sysctl -q net.ipv4.tcp_rmem=\"4096 87380  $((16*1024))\" a.b='x'"), two);
    assert_eq!(
        settings("./set_sysctls.py /proc/sys/net/ipv4/tcp_rmem=\"4096 87380 16384\" \\\n  /proc/sys/a/b=x"),
        two
    );
    assert_eq!(settings("sysctl -q a=$((2*(3+4)-1))"), [sysctl("a", "13")]);
    refused("sysctl net.ipv4.tcp_ecn");
    refused("sysctl -q a=$(nproc)");
    refused("sysctl -q a=$HOME");
    refused("sysctl -q a=$((x))");
}

#[test]
fn several_commands_and_comments() {
    let text = "# first\n  sysctl -q a=1 # one\n\nsysctl -q b=2; sysctl -q c=3 && sysctl -q d=4\n";
    assert_eq!(settings(text), [sysctl("a", "1"), sysctl("b", "2"), sysctl("c", "3"), sysctl("d", "4")]);
    assert_eq!(settings(""), []);
    assert_eq!(settings("set -e\ntrue\n:\nexit 0"), []);
}

#[test]
fn interfaces_and_routes() {
    assert_eq!(settings("ifconfig tun0 mtu 1400"), [Setting::Mtu(1400)]);
    assert_eq!(settings("ip link set dev tun0 mtu 1400"), [Setting::Mtu(1400)]);
    refused("ip link set dev tun0 mtu 3");
    assert_eq!(settings("ip tcp_metrics flush all >/dev/null 2>&1"), [Setting::FlushMetrics]);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let route = "change 192.0.2.0/24 dev tun0 initcwnd 20";
    assert_eq!(settings(&format!("ip route {route}")), [Setting::Route(words(route))]);
    let queue = "replace dev tun0 root fq";
    assert_eq!(settings(&format!("tc qdisc {queue}")), [Setting::Queue(words(queue))]);
    let offloads = [("tso", false), ("gro", true)];
    let offloads = offloads.map(|(feature, on)| Setting::Offload { feature: feature.to_owned(), on });
    assert_eq!(settings("ethtool -K tun0 tso off gro on"), offloads);
    refused("ethtool -K tun0 tso");
}

#[test]
fn the_rest_of_what_suites_do() {
    assert_eq!(settings("/tmp/sysctl_restore_${PPID}.sh"), [Setting::RestoreSysctls]);
    let silent = Nstat { silent: true, ..Nstat::default() };
    assert_eq!(settings("nstat -n"), [Setting::Nstat(silent)]);
    assert_eq!(settings("sleep 0.25"), [Setting::Sleep(Duration::from_millis(250))]);
    assert_eq!(settings("kldload -n tcp_rack"), [Setting::Module("tcp_rack".to_owned())]);
    let file = |len| [Setting::MakeFile { path: "f".to_owned(), len }];
    assert_eq!(settings("dd if=/dev/zero of=f bs=1k count=5 2>/dev/null"), file(5120));
    assert_eq!(settings("truncate -s 1M f"), file(1 << 20));
    assert_eq!(settings("touch f"), file(0));
    assert_eq!(settings("echo abc > f"), file(4));
    assert_eq!(settings("rm -f f"), [Setting::RemoveFile("f".to_owned())]);
}

#[test]
fn anything_else_is_refused_by_name() {
    for text in [
        "iptables -A INPUT -j DROP",
        "nstat | sort",
        "nstat | grep 'Tcp[A-Z]'",
        "sleep 1 &",
        "(sysctl -q a=1)",
        "if true; then sysctl -q a=1; fi",
        "cat < /etc/passwd",
        "python3 x.py",
        "curl http://localhost/",
        "sysctl -q a=\"1",
        "sysctl -q a=1 || reboot",
        "> f",
        "dd if=/dev/sda of=f",
    ] {
        refused(text);
    }
    let error = parse("sysctl -q a=1; frobnicate  x").unwrap_err();
    assert_eq!((error.offset, error.command.as_str()), (15, "frobnicate  x"));
}

#[test]
fn set_up_scripts_are_read_where_they_stand_or_known() {
    let asked = settings("../common/defaults.sh\nsysctl -q net.ipv4.tcp_ecn=2");
    assert_eq!(asked[0], Setting::Script { path: "../common/defaults.sh".to_owned() });

    let known = resolve(&asked, &|_| None).unwrap();
    assert_eq!(known.len(), defaults().len() + 1);
    assert!(known.contains(&sysctl("net.ipv4.tcp_slow_start_after_idle", "0")));
    assert_eq!(known.last(), Some(&sysctl("net.ipv4.tcp_ecn", "2")));

    let read = |path: &str| (path == "../common/defaults.sh").then(|| "sysctl -q x=1".to_owned());
    assert_eq!(resolve(&asked, &read).unwrap(), [sysctl("x", "1"), sysctl("net.ipv4.tcp_ecn", "2")]);

    let unknown = settings("./no-such.sh");
    assert_eq!(resolve(&unknown, &|_| None).unwrap_err().command, "./no-such.sh");
    let for_ever = |_: &str| Some("./no-such.sh".to_owned());
    assert!(resolve(&unknown, &for_ever).is_err());
}

#[test]
fn counters_are_asked_for() {
    let nstat = |text: &str| match &settings(text)[..] {
        [Setting::Nstat(nstat)] => nstat.clone(),
        other => panic!("{other:?}"),
    };
    let rows = |ofo, dsack| [("TcpExtTCPOFOQueue".to_owned(), ofo), ("TcpExtTCPDSACKRecv".to_owned(), dsack)];
    let mut counters = Counters::default();
    counters.call(&nstat("nstat -n"), &rows(5, 0)).unwrap();
    let three = nstat("nstat -s | grep TcpExtTCPOFOQueue | grep -q \" 3 \"");
    counters.call(&three, &rows(8, 0)).unwrap();
    assert!(counters.call(&three, &rows(9, 0)).unwrap_err().contains("4"));
    assert!(counters.call(&nstat("nstat -s | grep TCPDSACKRecv"), &rows(8, 0)).is_err(), "zero is not shown");
    counters.call(&nstat("nstat -sz TcpExtTCPD* | grep -q 'DSACK.* 0 '"), &rows(8, 0)).unwrap();
    counters.call(&nstat("nstat -sa | grep -q 'OFO.* 8 '"), &rows(8, 0)).unwrap();
    counters.call(&nstat("nstat -s | grep -v OFO | grep -q ' 1 '"), &rows(8, 1)).unwrap();
    // A call without -s is what the next one counts from.
    counters.call(&nstat("nstat"), &rows(8, 0)).unwrap();
    counters.call(&nstat("nstat | grep -q ' 1 '"), &rows(9, 0)).unwrap();
    refused("nstat | grep '[0-9]'");
    refused("nstat | awk '{print $2}'");
    refused("nstat | grep");
    refused("nstat -j");
    refused("ip route show | grep -q tun0");
}
