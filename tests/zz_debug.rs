use kosuke_docker::readiness::*;
#[test]
fn dbg() {
    let steps: serde_json::Value = serde_json::from_slice(&std::fs::read(std::env::var("STEPS").unwrap()).unwrap()).unwrap();
    let mut c = Classifier::new(Patterns::default());
    let mut feed = |err: bool, l: &str| c.push(err, format!("{l}\n").as_bytes(), &mut |s| println!("      >>> {s:?}"));
    for s in steps.as_array().unwrap() {
        if let Some(l) = s["out"].as_str() { println!("o|{l}"); feed(false, l); }
        else if let Some(l) = s["err"].as_str() { println!("e|{l}"); feed(true, l); }
        else if let Some(r) = s["requests"].as_array() { for r in r { println!("R{}", r); feed(r[0]=="err", r[1].as_str().unwrap()); } }
        else { println!("{s}"); }
    }
    c.flush(&mut |s| println!("   flush   >>> {s:?}"));
}
