//! An HTTP/1.1 client that shows when each byte comes and sends whatever it is told to.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Received, and not yet taken by a response.
    buffer: Vec<u8>,
}

/// A response, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// Where it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// Where nothing accepts there.
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("no connection to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends bytes as they are: a request, several of them, or a part of one.
    ///
    /// # Errors
    /// Where the server has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Closes the sending half; what the server sends still comes.
    ///
    /// # Errors
    /// Where the server has reset the connection.
    pub async fn finish_sending(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Reads the next response.
    ///
    /// # Errors
    /// Where it is not whole within `patience`, or the connection ends before it.
    pub async fn response(&mut self, patience: Duration) -> Result<Response> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some((response, length)) = parse(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(response);
            }
            let count = timeout_at(deadline, self.stream.read_buf(&mut self.buffer))
                .await
                .with_context(|| format!("no whole response within {patience:?}"))??;
            ensure!(count > 0, "closed before a whole response");
        }
    }

    /// Watches the connection for so long.
    ///
    /// # Errors
    /// Where a byte comes or the connection ends; the message says after how long.
    pub async fn silent_for(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        ensure!(self.buffer.is_empty(), "bytes had come before");
        match timeout_at(start + time, self.stream.read_buf(&mut self.buffer)).await {
            Err(_) => Ok(()),
            Ok(Ok(0)) => bail!("closed after {:?}", start.elapsed()),
            Ok(Ok(_)) => {
                let text = String::from_utf8_lossy(&self.buffer);
                bail!("bytes after {:?}: {text}", start.elapsed())
            }
            Ok(Err(error)) => bail!("{error} after {:?}", start.elapsed()),
        }
    }

    /// Waits until the server closes or resets the connection, and returns what came before.
    ///
    /// # Errors
    /// Where it is still open after `patience`.
    pub async fn closed(mut self, patience: Duration) -> Result<Vec<u8>> {
        let rest = timeout_at(
            Instant::now() + patience,
            self.stream.read_to_end(&mut self.buffer),
        );
        // A reset is an end too.
        drop(
            rest.await
                .with_context(|| format!("still open after {patience:?}"))?,
        );
        Ok(self.buffer)
    }
}

/// The first response in `bytes` and its length; None where it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<(Response, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .context("no status line")?;
    let headers = lines
        .map(|line| line.split_once(':').context("a header without colon"))
        .map(|pair| pair.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())))
        .collect::<Result<Vec<_>>>()?;
    let mut response = Response {
        status: status.parse()?,
        headers,
        body: Vec::new(),
    };
    ensure!(
        response.header("transfer-encoding").is_none(),
        "chunked responses are not expected"
    );
    let length: usize = response.header("content-length").unwrap_or("0").parse()?;
    let body = end + 4..end + 4 + length;
    let Some(content) = bytes.get(body.clone()) else {
        return Ok(None);
    };
    response.body = content.to_vec();
    Ok(Some((response, body.end)))
}

/// A POST of a JSON body, as the cloud sends it.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = post_head(path, body.len());
    request.extend_from_slice(body);
    request
}

/// The head of a POST whose body follows.
pub fn post_head(path: &str, length: usize) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
    .into_bytes()
}

/// A GET.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Sends one request on a connection of its own and reads the response.
///
/// # Errors
/// Where there is no whole response within `patience`.
pub async fn exchange(address: &str, request: &[u8], patience: Duration) -> Result<Response> {
    let mut connection = Connection::open(address).await?;
    connection.send(request).await?;
    connection.response(patience).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(10);

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (client, server) = tokio::join!(Connection::open(&address), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn reads_pipelined_responses_one_by_one() {
        let (mut client, mut server) = pair().await;
        let answers =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nokHTTP/1.1 404 Not Found\r\n\r\n";
        server.write_all(answers).await.unwrap();
        let first = client.response(LONG).await.unwrap();
        assert_eq!(
            (first.status, first.text().as_str(), first.header("x")),
            (200, "ok", Some("y"))
        );
        assert_eq!(client.response(LONG).await.unwrap().status, 404);
        client.silent_for(SHORT).await.unwrap();
    }

    #[tokio::test]
    async fn tells_silence_from_bytes_and_from_an_end() {
        let (mut client, mut server) = pair().await;
        client.silent_for(SHORT).await.unwrap();
        server.write_all(b"H").await.unwrap();
        assert!(
            client
                .silent_for(LONG)
                .await
                .unwrap_err()
                .to_string()
                .contains("bytes after")
        );
        let error = client.response(SHORT).await.unwrap_err();
        assert!(error.to_string().contains("no whole response"));
        drop(server);
        assert_eq!(client.closed(LONG).await.unwrap(), b"H");
    }

    #[tokio::test]
    async fn serves_after_the_sending_half_is_closed() {
        let (mut client, mut server) = pair().await;
        client.send(&post("/p", b"{}")).await.unwrap();
        client.finish_sending().await.unwrap();
        let mut request = Vec::new();
        server.read_to_end(&mut request).await.unwrap();
        assert!(request.starts_with(b"POST /p HTTP/1.1\r\n") && request.ends_with(b"\r\n\r\n{}"));
        server
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(client.response(LONG).await.unwrap().status, 200);
    }
}
