//! HTML and SVG whose elements are closed and whose text is escaped, by construction.

/// A piece of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Html(String);

/// Elements that begin a new line of the source, so that it can be read.
const BLOCKS: [&str; 24] = [
    "html",
    "head",
    "title",
    "style",
    "body",
    "header",
    "main",
    "section",
    "aside",
    "footer",
    "h1",
    "h2",
    "h3",
    "p",
    "ul",
    "ol",
    "li",
    "figure",
    "figcaption",
    "table",
    "thead",
    "tbody",
    "tr",
    "svg",
];

impl Html {
    /// `<name ..>content</name>`.
    pub(super) fn element<S: AsRef<str>>(
        name: &str,
        attributes: &[(&str, S)],
        content: impl IntoIterator<Item = Html>,
    ) -> Self {
        let mut out = opened(name, attributes);
        out.push('>');
        content.into_iter().for_each(|part| out += &part.0);
        out += &format!("</{name}>");
        if BLOCKS.contains(&name) {
            out.push('\n');
        }
        Self(out)
    }

    /// `<name ../>`: an element that has no content.
    pub(super) fn empty<S: AsRef<str>>(name: &str, attributes: &[(&str, S)]) -> Self {
        Self(opened(name, attributes) + "/>")
    }

    /// `<name>content</name>` without attributes.
    pub(super) fn plain(name: &str, content: impl IntoIterator<Item = Html>) -> Self {
        Self::element::<&str>(name, &[], content)
    }

    /// The rules of a page's style sheet: text of this program, which is not escaped.
    pub(super) fn style(rules: &'static str) -> Self {
        Self::plain("style", [Self(rules.into())])
    }

    /// A section under a heading.
    pub(super) fn section(heading: &str, content: impl IntoIterator<Item = Html>) -> Self {
        Self::plain("section", std::iter::once(Self::plain("h2", [heading.into()])).chain(content))
    }

    /// A table of labels and values.
    pub(super) fn pairs<L: AsRef<str>>(rows: impl IntoIterator<Item = (L, Html)>) -> Self {
        let row = |(label, value): (L, Html)| {
            let label = Self::element("th", &[("scope", "row")], [label.as_ref().into()]);
            Self::plain("tr", [label, Self::plain("td", [value])])
        };
        Self::element("table", &[("class", "pairs")], [Self::plain("tbody", rows.into_iter().map(row))])
    }

    /// A table with a head. On a narrow screen every row becomes a block in which each value follows the name of its column.
    pub(super) fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<Html>>) -> Self {
        let head = columns.iter().map(|name| Self::element("th", &[("scope", "col")], [(*name).into()]));
        let cell = |(name, value): (&&str, Html)| Self::element("td", &[("data-label", name)], [value]);
        let row = |cells: Vec<Html>| Self::plain("tr", columns.iter().zip(cells).map(cell));
        let head = Self::plain("thead", [Self::plain("tr", head)]);
        Self::element("table", &[("class", "stack")], [head, Self::plain("tbody", rows.into_iter().map(row))])
    }

    /// A whole document with this title.
    pub(super) fn document(title: &str, body: impl IntoIterator<Item = Html>) -> String {
        let head = [
            Self::empty("meta", &[("charset", "utf-8")]),
            Self::empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]),
            Self::plain("title", [title.into()]),
            Self::style(include_str!("page.css")),
        ];
        let parts = [Self::plain("head", head), Self::plain("body", body)];
        format!("<!DOCTYPE html>\n{}", Self::element("html", &[("lang", "en")], parts).0)
    }
}

fn opened<S: AsRef<str>>(name: &str, attributes: &[(&str, S)]) -> String {
    let attributes = attributes.iter().map(|(name, value)| format!(" {name}=\"{}\"", escaped(value.as_ref())));
    format!("<{name}{}", attributes.collect::<String>())
}

/// Text as it can stand in an element or in an attribute between quotation marks.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            // Characters that no document may hold.
            '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

impl From<&str> for Html {
    fn from(text: &str) -> Self {
        Self(escaped(text))
    }
}

impl From<String> for Html {
    fn from(text: String) -> Self {
        Self(escaped(&text))
    }
}

impl FromIterator<Html> for Html {
    fn from_iter<I: IntoIterator<Item = Html>>(parts: I) -> Self {
        Self(parts.into_iter().map(|part| part.0).collect())
    }
}

impl std::fmt::Display for Html {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_are_escaped() {
        let hostile = "</td><script>alert('x')</script> & \"\u{1}";
        let cell = Html::element("td", &[("title", hostile)], [hostile.into()]).to_string();
        let safe = "&lt;/td&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;\u{fffd}";
        assert_eq!(cell, format!("<td title=\"{safe}\">{safe}</td>"));
    }

    #[test]
    fn elements_nest() {
        let inner: Html = ["a < b".into(), Html::empty("br", &[("class", "x")])].into_iter().collect();
        assert_eq!(Html::plain("b", [inner]).to_string(), "<b>a &lt; b<br class=\"x\"/></b>");
    }
}
