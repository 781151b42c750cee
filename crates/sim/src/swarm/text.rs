//! A scenario as one line, and back.

use std::fmt;
use std::str::FromStr;

use super::scenario::{Flow, Kind, Mishap, Scenario, options, sides};
use crate::topology::Shape;

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={} net=", self.seed)?;
        match self.shape {
            Shape::Pair => f.write_str("pair")?,
            Shape::Star(n) => write!(f, "star:{n}")?,
            Shape::Dumbbell(n) => write!(f, "dumbbell:{n}")?,
            Shape::Chain(n) => write!(f, "chain:{n}")?,
        }
        f.write_str(if self.ipv6 { ":6" } else { "" })?;
        write!(f, " mtu={}/{}", self.mtu.0, self.mtu.1)?;
        if let Some(mark) = self.mark {
            write!(f, " mark={mark}")?;
        }
        if !self.link.is_empty() {
            write!(f, " link={}", self.link.join(","))?;
        }
        write!(f, " a={} b={}", self.hosts[0].join(","), self.hosts[1].join(","))?;
        for flow in &self.flows {
            let Flow { kind, client, server, up, down, times, start, options } = flow;
            let options = options.join("+");
            write!(f, " flow={}:{client}>{server}:{up}:{down}:{times}:{options}@{start}", kind.name())?;
        }
        for Mishap { server, at, silent } in &self.mishaps {
            match silent {
                Some(ms) => write!(f, " event=silence:{server}:{ms}@{at}")?,
                None => write!(f, " event=reboot:{server}@{at}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(line: &str) -> Result<Scenario, String> {
        let mut scenario = Scenario {
            seed: 0,
            shape: Shape::Pair,
            ipv6: false,
            mtu: (1_500, 1_500),
            mark: None,
            link: Vec::new(),
            hosts: [vec!["linux".into()], vec!["linux".into()]],
            flows: Vec::new(),
            mishaps: Vec::new(),
        };
        let list = |value: &str| value.split(',').map(str::to_string).collect::<Vec<_>>();
        for word in line.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or(format!("`{word}` is no key=value"))?;
            match key {
                "seed" => scenario.seed = number(value)?,
                "net" => (scenario.shape, scenario.ipv6) = parse_net(value)?,
                "mtu" => {
                    let (wide, narrow) = value.split_once('/').unwrap_or((value, value));
                    scenario.mtu = (number(wide)?, number(narrow)?);
                }
                "mark" => scenario.mark = Some(number(value)?),
                "link" => scenario.link = list(value),
                "a" => scenario.hosts[0] = list(value),
                "b" => scenario.hosts[1] = list(value),
                "flow" => scenario.flows.push(parse_flow(value)?),
                "event" => scenario.mishaps.push(parse_mishap(value)?),
                _ => return Err(format!("no key `{key}`")),
            }
        }
        let (clients, servers) = sides(scenario.shape);
        let is_there = |f: &Flow| f.client < clients && f.server < servers;
        if !scenario.flows.iter().all(is_there) || scenario.mishaps.iter().any(|m| m.server >= servers) {
            return Err(format!("there are {clients} clients and {servers} servers"));
        }
        scenario.link_spec()?;
        scenario.config(0)?;
        scenario.config(1)?;
        Ok(scenario)
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no such number"))
}

fn parse_net(value: &str) -> Result<(Shape, bool), String> {
    let parts: Vec<&str> = value.split(':').collect();
    let (parts, ipv6) = match parts.as_slice() {
        [rest @ .., "6"] if rest.len() == 2 || rest == ["pair"] => (rest, true),
        all => (all, false),
    };
    let shape = match parts {
        ["pair"] => Shape::Pair,
        ["star", n] => Shape::Star(number(n)?),
        ["dumbbell", n] => Shape::Dumbbell(number(n)?),
        ["chain", n] => Shape::Chain(number(n)?),
        _ => return Err(format!("no layout `{value}`: pair, star:N, dumbbell:N, chain:N, and `:6`")),
    };
    Ok((shape, ipv6))
}

fn parse_flow(value: &str) -> Result<Flow, String> {
    let (value, start) = value.rsplit_once('@').ok_or(format!("`{value}`: when does it start?"))?;
    let parts: Vec<&str> = value.split(':').collect();
    let [kind, who, up, down, times, words] = parts[..] else {
        return Err(format!("`{value}`: a flow has six parts"));
    };
    let kind = Kind::ALL.into_iter().find(|k| k.name() == kind).ok_or(format!("no kind of flow `{kind}`"))?;
    let (client, server) = who.split_once('>').ok_or(format!("`{who}`: from whom to whom?"))?;
    let words: Vec<String> = words.split('+').filter(|w| !w.is_empty()).map(str::to_string).collect();
    options(&words, 0)?;
    Ok(Flow {
        kind,
        client: number(client)?,
        server: number(server)?,
        up: number(up)?,
        down: number(down)?,
        times: number(times)?,
        start: number(start)?,
        options: words,
    })
}

fn parse_mishap(value: &str) -> Result<Mishap, String> {
    let (value, at) = value.rsplit_once('@').ok_or(format!("`{value}`: when?"))?;
    let parts: Vec<&str> = value.split(':').collect();
    match parts[..] {
        ["reboot", server] => Ok(Mishap { server: number(server)?, at: number(at)?, silent: None }),
        ["silence", server, ms] => {
            Ok(Mishap { server: number(server)?, at: number(at)?, silent: Some(number(ms)?) })
        }
        _ => Err(format!("no event `{value}`: reboot:SERVER, silence:SERVER:MS")),
    }
}
