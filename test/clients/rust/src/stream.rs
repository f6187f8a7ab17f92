//! Follows /subscribe, as the library's manual shows it (plain) or as our page says (set).
//!
//! A line for each event: `event [TYPE, ID, LENGTH OF DATA]`.
use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};
use futures::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;
use reqwest_eventsource::{retry, Event, EventSource};
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
    let request = reqwest::Client::new().get(&settings.url).bearer_auth(&settings.token);
    let mut events = EventSource::new(request)?;
    if settings.set {
        let delay = Duration::from_millis(500);
        events.set_retry_policy(Box::new(retry::Constant::new(delay, None)));
    }
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Open) => {}
            Ok(Event::Message(event)) => show(&event.event, &event.id, &event.data),
            Err(error) => eprintln!("{error:?}"), // it comes again by itself
        }
    }
    Ok(())
}
