//! Files over HTTP/1.1: hyper speaks the protocol, tower-http reads the files; here are the border and the listings.

use std::convert::Infallible;
use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sockeye::net::AsSocket as _;
use sockeye::net::tokio::TcpStream;
use tower::ServiceExt as _;
use tower_http::services::ServeDir;

use super::Service;
use crate::counted::Counted;
use crate::ended::{Ended, How};
use crate::failure::{Code, Failure};

/// What is read of a file at once, bytes.
const CHUNK: usize = 256 << 10;
/// Names a listing shows at most.
const MAX_LISTED: usize = 10_000;
/// What a path in a link may hold unescaped.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A folder and the service that reads it.
pub struct Files {
    /// Without symbolic links: what a request resolves to has to lie below it.
    root: PathBuf,
    service: ServeDir,
}

impl Files {
    pub fn new(dir: &Path) -> Result<Files, Failure> {
        let root = dir.canonicalize().map_err(|error| Failure::io(dir.display(), &error))?;
        if !root.is_dir() {
            return Err(Failure::new(Code::Usage, format!("{} is no folder", dir.display())));
        }
        let service = ServeDir::new(&root).with_buf_chunk_size(CHUNK);
        Ok(Files { root, service })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let path = request.uri().path().to_owned();
        let Some(target) = self.resolve(&path) else {
            return text(StatusCode::NOT_FOUND, "no such file\n");
        };
        if target.is_dir() && path.ends_with('/') && !target.join("index.html").is_file() {
            return listing(&target, &path);
        }
        match self.service.clone().oneshot(request).await {
            Ok(response) => response.map(|body| body.boxed_unsync()),
            Err(never) => match never {},
        }
    }

    /// What a path of a request stands for, if it exists and lies below the folder with all links followed.
    fn resolve(&self, path: &str) -> Option<PathBuf> {
        let decoded = percent_decode_str(path.trim_start_matches('/')).decode_utf8().ok()?;
        let inside =
            Path::new(&*decoded).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside || decoded.contains('\0') {
            return None;
        }
        let target = self.root.join(&*decoded).canonicalize().ok()?;
        target.starts_with(&self.root).then_some(target)
    }
}

/// Serves requests on one connection until either side has enough.
pub async fn serve(files: &Files, stream: TcpStream, peer: SocketAddr, service: &Service) -> Ended {
    let socket = stream.as_socket().clone();
    let (stream, traffic) = Counted::new(stream);
    let answer = |request: Request<Incoming>| async {
        let asked = format!("{} {}", request.method(), request.uri());
        let response = files.answer(request).await;
        let status = response.status().as_u16();
        service.out.event(&format!("{peer} {asked} {status}"), || {
            serde_json::json!({"event": "request", "peer": peer.to_string(), "request": asked, "status": status})
        });
        Ok::<_, Infallible>(response)
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .half_close(true)
        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer));
    tokio::pin!(connection);
    let how = tokio::select! {
        done = connection.as_mut() => How::from_result(into_io(done)),
        () = service.stop.closing() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                done = connection.as_mut() => How::closed_by_us(into_io(done)),
                () = tokio::time::sleep(service.grace) => How::abort(&socket, "did not end in time"),
                () = service.stop.aborting() => How::abort(&socket, "interrupted twice"),
            }
        }
    };
    traffic.end(how)
}

/// A peer that ends before its request does has ended in order as far as TCP is concerned; what a file or the connection
/// says is passed on.
fn into_io(result: hyper::Result<()>) -> io::Result<()> {
    let Err(error) = result else { return Ok(()) };
    if error.is_incomplete_message() {
        return Ok(());
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(error) => {
            Err(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error))
        }
        None => Err(io::Error::other(error)),
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The names in a folder, as a page of links.
fn listing(folder: &Path, path: &str) -> Response<Body> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return text(StatusCode::FORBIDDEN, "cannot read this folder\n");
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .take(MAX_LISTED)
        .map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect();
    names.sort();
    let title = escape(&percent_decode_str(path).decode_utf8_lossy());
    let mut page = format!(
        "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
    );
    if path != "/" {
        page += "<li><a href=\"../\">../</a>\n";
    }
    for name in names {
        let (bare, slash) = name.strip_suffix('/').map_or((&*name, ""), |bare| (bare, "/"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "<li><a href=\"./{}{slash}\">{}</a>",
            utf8_percent_encode(bare, IN_PATH),
            escape(&name)
        );
    }
    page += "</ul>\n";
    let mut response = text(StatusCode::OK, page);
    let kind = header::HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("public")).expect("a folder");
        std::fs::create_dir(dir.path().join("public/sub")).expect("a folder");
        std::fs::write(dir.path().join("secret"), "x").expect("a file");
        std::fs::write(dir.path().join("public/a b"), "x").expect("a file");
        std::os::unix::fs::symlink("../secret", dir.path().join("public/link")).expect("a link");
        std::os::unix::fs::symlink("a b", dir.path().join("public/good")).expect("a link");
        let files = Files::new(&dir.path().join("public")).expect("files");
        for good in ["/", "/a%20b", "/good", "/sub/", "//a%20b", "/./a%20b"] {
            assert!(files.resolve(good).is_some(), "{good}");
        }
        for bad in [
            "/../secret",
            "/%2e%2e/secret",
            "/sub/../../secret",
            "/link",
            "/none",
            "/%00",
            "/%ff",
            "//../secret",
        ] {
            assert!(files.resolve(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn names_are_escaped() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("<b>&\"?#"), "x").expect("a file");
        let response = listing(dir.path(), "/%3Ci%3E/");
        let page = collect(response.into_body());
        assert!(page.contains("&lt;b&gt;&amp;&quot;?#"), "{page}");
        assert!(page.contains("%3Cb%3E%26%22%3F%23"), "{page}");
        assert!(!page.contains("<i>"), "{page}");
    }

    fn collect(body: Body) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let bytes = runtime.block_on(body.collect()).expect("a body").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }
}
