//! What a script says of itself in comment lines before its first event.

use sockeye_core::Profile;

/// How a script wants to be run.
///
/// | comment line | meaning |
/// |---|---|
/// | `// profile: freebsd` | it shows this profile's behaviour; without the line Linux's |
/// | `// neutral` | it must pass on the host's own TCP too |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The profile that it names.
    pub profile: Option<Profile>,
    /// It must pass on the host's own TCP too.
    pub neutral: bool,
}

impl Header {
    /// Reads the comment lines of a script's text. A profile that does not exist is an error, with the line's number.
    pub fn read(text: &str) -> Result<Header, (u32, String)> {
        let mut header = Header::default();
        for (line, number) in text.lines().zip(1..) {
            let Some(words) = line.strip_prefix("//").map(str::trim) else {
                if is_preface(line) {
                    continue;
                }
                break;
            };
            if words == "neutral" {
                header.neutral = true;
            } else if let Some(name) = words.strip_prefix("profile:") {
                let profile = Profile::from_name(name.trim())
                    .ok_or_else(|| (number, format!("the profile '{}'", name.trim())))?;
                header.profile = Some(profile);
            }
        }
        Ok(header)
    }
}

/// Empty lines and option lines may stand between the comments.
fn is_preface(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_comment_lines_before_the_first_event() {
        let header = |text| Header::read(text);
        assert_eq!(header("0 close(3) = 0\n"), Ok(Header::default()));
        assert_eq!(
            header(
                "// A thing.\n// profile: freebsd\n\n--mss=5\n// neutral\n0 close(3) = 0\n// profile: rfc\n"
            ),
            Ok(Header { profile: Some(Profile::FreeBsd), neutral: true })
        );
        assert_eq!(header("// neutral in spirit\n"), Ok(Header::default()));
        assert_eq!(header("\n// profile: plan9\n"), Err((2, "the profile 'plan9'".to_owned())));
    }
}
