//! Rust's clients: clients stream|call LIBRARY plain|set URL TOKEN.
mod call;
mod stream;

pub struct Settings {
    pub set: bool,
    pub url: String,
    pub token: String,
}

pub type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().collect();
    let settings = Settings { set: words[3] == "set", url: words[4].clone(), token: words[5].clone() };
    match words[2].as_str() {
        "eventsource-client" => stream::eventsource_client(&settings).await,
        "reqwest-eventsource" => stream::reqwest_eventsource(&settings).await,
        "jsonrpsee" => call::jsonrpsee(&settings).await,
        other => Err(format!("no such library: {other}").into()),
    }
}
