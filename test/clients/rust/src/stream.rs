//! Follows /subscribe, as the library's manual shows it (plain) or as our page says (set).
//!
//! A line for each event: `event [TYPE, ID, LENGTH OF DATA]`.
use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};
use futures::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;
use reqwest_eventsource::{Event, EventSource};
use serde_json::json;

use crate::{Failure, Settings};

fn show(kind: &str, id: &str, data: &str) {
    println!("event {}", json!([kind, id, data.len()]));
}

pub async fn eventsource_client(settings: &Settings) -> Result<(), Failure> {
    let mut builder = ClientBuilder::for_url(&settings.url)?
        .header("Authorization", &format!("Bearer {}", settings.token))?;
    if settings.set {
        let reconnect = ReconnectOptions::reconnect(true).retry_initial(true).build();
        builder = builder.reconnect(reconnect);
    }
    let mut events = builder.build_with_transport(HyperTransport::new()?).stream();
    while let Some(event) = events.next().await {
        match event {
            Ok(SSE::Event(event)) => show(&event.event_type, &event.id.unwrap_or_default(), &event.data),
            Ok(_) => {}
            Err(error) => eprintln!("{error:?}"), // it comes again by itself
        }
    }
    Ok(())
}

pub async fn reqwest_eventsource(settings: &Settings) -> Result<(), Failure> {
    let client = reqwest::Client::new();
    let mut last = String::new();
    loop {
        let mut request = client.get(&settings.url).bearer_auth(&settings.token);
        if !last.is_empty() {
            request = request.header("Last-Event-ID", &last);
        }
        let mut events = EventSource::new(request)?;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Open) => {}
                Ok(Event::Message(event)) => {
                    show(&event.event, &event.id, &event.data);
                    last = event.id;
                }
                Err(error) => eprintln!("{error:?}"), // it comes again by itself, but for a refusal
            }
        }
        if !settings.set {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
