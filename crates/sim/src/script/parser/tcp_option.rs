//! TCP options: `<mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>`.

use super::super::ast::{Direction, TcpOption};
use super::super::error::Result;
use super::super::lexer::{Kind, Token};
use super::Parser;

impl Parser<'_> {
    /// The options after a segment, or none for `<...>`.
    pub(super) fn options_of(&mut self, direction: Direction) -> Result<Option<Vec<TcpOption>>> {
        self.expect('<')?;
        let mut options = Vec::new();
        let token = self.peek()?;
        if token.kind == Kind::Ellipsis {
            self.next()?;
            self.expect('>')?;
            if direction == Direction::Inbound {
                return Err(self.unexpected(&token, "the options themselves, in a segment to inject"));
            }
            return Ok(None);
        }
        if self.accept('>')? {
            return Ok(Some(options));
        }
        loop {
            options.push(self.tcp_option(direction)?);
            let token = self.next()?;
            if token.is('>') {
                return Ok(Some(options));
            }
            if !token.is(',') {
                return Err(self.unexpected(&token, "',' or '>' after a TCP option"));
            }
        }
    }

    fn tcp_option(&mut self, direction: Direction) -> Result<TcpOption> {
        let token = self.next()?;
        if token.kind != Kind::Word {
            return Err(self.unexpected(&token, "a TCP option"));
        }
        match token.text {
            "eol" => Ok(TcpOption::Eol),
            "nop" => Ok(TcpOption::Nop),
            "mss" => Ok(TcpOption::Mss(self.number_u16("a segment size")?)),
            "wscale" => Ok(TcpOption::WindowScale(self.number_u8("a shift")?)),
            "sackOK" | "sackok" => Ok(TcpOption::SackPermitted),
            "sack" => self.sack(),
            "TS" => self.timestamps(direction),
            "md5" => self.md5(),
            "FO" => Ok(TcpOption::FastOpen(self.hex_bytes()?)),
            "FOEXP" => Ok(TcpOption::FastOpenExp(self.hex_bytes()?)),
            "ECN" | "AccECN" | "accecn" => self.accecn(),
            "raw" => Ok(TcpOption::Raw(self.hex_bytes()?)),
            _ => {
                let known = "one of the TCP options eol, nop, mss, wscale, sackOK, sack, TS, md5, FO, FOEXP, ECN, raw";
                Err(self.unexpected(&token, known))
            }
        }
    }

    fn sack(&mut self) -> Result<TcpOption> {
        let mut blocks = Vec::new();
        while self.peek()?.kind == Kind::Int {
            let left = self.number_u32("the start of a SACK block")?;
            self.expect(':')?;
            let right = self.number_u32("the end of a SACK block")?;
            blocks.push((left, right));
        }
        Ok(TcpOption::Sack(blocks))
    }

    fn timestamps(&mut self, direction: Direction) -> Result<TcpOption> {
        let mut values = [None; 2];
        for (value, name) in values.iter_mut().zip(["val", "ecr"]) {
            let token = self.next()?;
            if !token.is_word(name) {
                return Err(self.unexpected(&token, format!("'{name}'")));
            }
            let token = self.peek()?;
            if direction == Direction::Outbound && (token.is('*') || token.kind == Kind::Ellipsis) {
                self.next()?;
            } else {
                *value = Some(self.number_u32("a timestamp")?);
            }
        }
        let [val, ecr] = values;
        Ok(TcpOption::Timestamps { val, ecr })
    }

    fn md5(&mut self) -> Result<TcpOption> {
        let token = self.peek()?;
        let digest = self.hex_bytes()?;
        if digest.is_empty() {
            return Ok(TcpOption::Md5(None));
        }
        let len = digest.len();
        let digest: [u8; 16] = digest
            .try_into()
            .map_err(|_| self.unexpected(&token, format!("a digest of 16 bytes; this has {len}")))?;
        Ok(TcpOption::Md5(Some(digest)))
    }

    fn accecn(&mut self) -> Result<TcpOption> {
        let mut e1b_first = false;
        let mut counters = Vec::new();
        loop {
            let token = self.peek()?;
            let order = if e1b_first { ["e1b", "ceb", "e0b"] } else { ["e0b", "ceb", "e1b"] };
            if counters.is_empty() && token.is_word("e1b") {
                e1b_first = true;
            } else if token.kind != Kind::Word {
                return Ok(TcpOption::AccEcn { e1b_first, counters });
            } else if order.get(counters.len()) != Some(&token.text) {
                let expected =
                    order.get(counters.len()).map_or("',' or '>'".to_owned(), |name| format!("'{name}'"));
                return Err(self.unexpected(&token, expected));
            }
            self.next()?;
            counters.push(self.number((1 << 24) - 1, "a byte counter of 24 bits")? as u32);
        }
    }

    /// Hexadecimal digits, two a byte, in one token or none.
    fn hex_bytes(&mut self) -> Result<Vec<u8>> {
        let token = self.peek()?;
        if !matches!(token.kind, Kind::Word | Kind::Int | Kind::Hex | Kind::Str) {
            return Ok(Vec::new());
        }
        self.next()?;
        self.parse_hex(&token)
    }

    fn parse_hex(&self, token: &Token) -> Result<Vec<u8>> {
        let digits = if token.kind == Kind::Hex { &token.text[2..] } else { token.text };
        let digits: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(16)).collect();
        match digits {
            Some(digits) if digits.len() % 2 == 0 => {
                Ok(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
            }
            _ => Err(self.unexpected(token, "hexadecimal digits, two for each byte")),
        }
    }
}
