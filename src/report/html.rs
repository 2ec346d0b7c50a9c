//! Text into HTML, JSON into numbers, numbers into words.

use serde_json::Value;
use std::fmt::Write;

/// What stands where a value is missing.
pub(super) const DASH: &str = "–";

/// Text made safe inside elements and double- or single-quoted attributes. Control characters, which are not allowed
/// in a document, are dropped.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// The value at a path of keys, `"collapse.std"`.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// The finite number at a path.
pub(super) fn number(value: &Value, path: &str) -> Option<f64> {
    at(value, path)?.as_f64().filter(|x| x.is_finite())
}

/// A string or number at a path, escaped; a dash if there is none.
pub(super) fn text(value: &Value, path: &str) -> String {
    match at(value, path) {
        Some(Value::String(s)) if !s.trim().is_empty() => escape(s),
        Some(Value::Number(_)) => number(value, path).map_or(DASH.into(), significant),
        Some(Value::Bool(b)) => b.to_string(),
        _ => DASH.into(),
    }
}

/// `0.8312` as `83.1 %`, with a thin no-break space.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or(DASH.into(), |x| format!("{:.1}\u{202f}%", 100.0 * x))
}

/// A difference of two shares as `+5.0 points`.
pub(super) fn points(difference: Option<f64>) -> String {
    difference.map_or(DASH.into(), |x| format!("{:+.1} points", 100.0 * x).replace('-', "−"))
}

/// Three significant digits, or all of a whole number with thin spaces between thousands.
pub(super) fn significant(x: f64) -> String {
    if !x.is_finite() {
        return DASH.into();
    }
    let text = if x == 0.0 {
        "0".into()
    } else if x.abs() < 1e-3 || x.abs() >= 1e15 {
        format!("{x:.2e}")
    } else if x.abs() >= 100.0 || (x.fract() == 0.0 && x.abs() >= 1.0) {
        thousands(x)
    } else {
        let digits = (2 - x.abs().log10().floor() as i32).max(0) as usize;
        format!("{x:.digits$}")
    };
    text.replace('-', "−")
}

fn thousands(x: f64) -> String {
    let digits = format!("{:.0}", x.abs());
    let mut out = String::from(if x < 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Seconds as `7 min 03 s`.
pub(super) fn duration(seconds: Option<f64>) -> String {
    let Some(s) = seconds.filter(|s| *s >= 0.0 && *s < 1e12) else { return DASH.into() };
    let whole = s.round() as u64;
    match whole {
        0..60 => format!("{s:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// A coordinate or length in an SVG attribute; callers pass finite numbers, anything else becomes 0.
pub(super) fn px(x: f64) -> String {
    let x = if x.is_finite() { (x * 10.0).round() / 10.0 } else { 0.0 };
    // Adding 0 turns −0 into 0.
    format!("{}", x + 0.0)
}

/// A table of definitions: name, value, what it means.
pub(super) fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String, &'a str)>) -> String {
    let mut out = String::from("<dl class=\"facts\">");
    for (name, value, meaning) in rows {
        let _ = write!(out, "<div><dt>{name}</dt><dd><b>{value}</b><span>{meaning}</span></dd></div>");
    }
    out.push_str("</dl>");
    out
}

/// A note in place of something that is not there.
pub(super) fn missing(what: &str) -> String {
    format!("<p class=\"missing\">{what}</p>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_as_people_read_them() {
        let cases = [
            (0.0, "0"),
            (0.07123, "0.0712"),
            (5.1, "5.10"),
            (8.0, "8"),
            (870.24, "870"),
            (1234567.0, "1\u{202f}234\u{202f}567"),
            (-2.345, "−2.35"),
            (3.2e-5, "3.20e−5"),
            (f64::NAN, DASH),
        ];
        for (x, expected) in cases {
            assert_eq!(significant(x), expected);
        }
        assert_eq!(percent(Some(0.8312)), "83.1\u{202f}%");
        assert_eq!((points(Some(0.05)), points(Some(-0.012))), ("+5.0 points".into(), "−1.2 points".into()));
        let times = [12.34, 59.97, 423.0, 7384.0].map(|s| duration(Some(s)));
        assert_eq!(times, ["12.3 s", "1 min 00 s", "7 min 03 s", "2 h 03 min"]);
        assert_eq!((duration(None), duration(Some(-1.0))), (DASH.into(), DASH.into()));
        assert_eq!((px(-0.04), px(3.1111), px(f64::NAN)), ("0".into(), "3.1".into(), "0".into()));
    }

    #[test]
    fn values_by_path() {
        let v = json!({"a": {"b": 2.5, "c": "<x>"}, "n": null});
        assert_eq!(number(&v, "a.b"), Some(2.5));
        assert_eq!(text(&v, "a.c"), "&lt;x&gt;");
        for path in ["a", "n", "a.b.c", "z"] {
            assert_eq!((number(&v, path), text(&v, path)), (None, DASH.into()), "{path}");
        }
    }

    #[test]
    fn text_cannot_break_out() {
        assert_eq!(escape("<b a='1' c=\"2\">&\u{0}\u{7f}"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
    }
}
