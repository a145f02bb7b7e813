use annals::*; use annals_memory::MemoryAdapter; use std::time::Instant;
#[tokio::main(flavor="current_thread")]
async fn main() {
  let store = EventStore::new(MemoryAdapter::new());
  const NAME: EventName = EventName::from_static("profile-created");
  let payload = Payload::bytes(vec![b'x';250]);
  let n = 100_000usize;
  let writes: Vec<(StreamId, Vec<NewEvent>)> = (0..n).map(|i| (StreamId::new("profiles", format!("s{}", i % 1000)).unwrap(), (0..10).map(|_| NewEvent::new(NAME, payload.clone())).collect())).collect();
  let t = Instant::now();
  let mut k=0u64;
  for (i,(s, e)) in writes.into_iter().enumerate() { let c = if i<1000 {WriteCondition::StreamIsEmpty} else {WriteCondition::PositionIs(Position::new((i/1000*10-1) as u64))}; k+=store.append(vec![Append{stream:s, events:e, condition:c}]).await.unwrap().len() as u64; }
  let el=t.elapsed(); println!("append10: {:.2} M events/s  {k}", n as f64*10.0/el.as_secs_f64()/1e6);
  struct P; impl Projector for P { type State=u64; fn initial(&self)->u64{0} fn apply(&self,s:&mut u64,e:&StoredEvent)->Result<(),BoxError>{ *s+=e.event.payload.as_bytes().len() as u64; Ok(()) } }
  for _ in 0..4 { let t=Instant::now(); let p=store.log().project(&P).await.unwrap(); println!("fold log: {:.2} M/s {}", n as f64*10.0/t.elapsed().as_secs_f64()/1e6, p.state); }
  let t=Instant::now(); let p=store.category(CategoryName::from_static("profiles")).project(&P).await.unwrap(); println!("fold category: {:.2} M/s {}", n as f64*10.0/t.elapsed().as_secs_f64()/1e6, p.state);
  let t=Instant::now(); let mut c=0; for i in 0..1000 { c+=store.stream(StreamId::new("profiles",format!("s{i}")).unwrap()).project(&P).await.unwrap().state; } println!("fold streams of 1000: {:.2} M/s {c}", n as f64*10.0/t.elapsed().as_secs_f64()/1e6);
}
