//! Tokens → module: directives, variables, function headers. PTX ISA, chapters 5 and 11.

use super::lex::{Kind, Token, tokens};
use super::{Function, Init, Source, Space, Syntax, Type, Variable, body, syntax};

/// Reads a whole `.ptx` file.
pub fn parse(source: &str) -> Result<Source, Syntax> {
    let tokens = tokens(source)?;
    let mut cursor = Cursor { tokens: &tokens, at: 0 };
    let mut module = Source::default();
    while cursor.peek().is_some() {
        directive(&mut cursor, &mut module)?;
    }
    if module.target == 0 {
        return syntax(1, "no `.target sm_…`: is this a PTX file?");
    }
    Ok(module)
}

fn directive(cursor: &mut Cursor, module: &mut Source) -> Result<(), Syntax> {
    let line = cursor.line();
    let mut external = false;
    loop {
        let word = cursor.word()?;
        match word {
            ".visible" | ".weak" | ".common" => {}
            ".extern" => external = true,
            ".version" | ".address_size" => {
                cursor.rest_of_line();
                return Ok(());
            }
            ".target" => {
                let target = cursor.word()?;
                let digits: String = target.chars().filter(char::is_ascii_digit).collect();
                module.target =
                    digits.parse().or_else(|_| syntax(line, format!("unknown target `{target}`")))?;
                cursor.rest_of_line();
                return Ok(());
            }
            ".file" => {
                let number = cursor.integer()?;
                let path = cursor.text()?;
                module.files.insert(number as u32, path);
                cursor.rest_of_line();
                return Ok(());
            }
            ".section" => {
                cursor.word()?;
                return cursor.skip_braces();
            }
            ".pragma" | ".alias" => return cursor.skip_past(';'),
            ".entry" | ".func" => {
                module.functions.push(function(cursor, word == ".entry", line)?);
                return Ok(());
            }
            _ => {
                let Some(space) = word.strip_prefix('.').and_then(Space::parse) else {
                    return syntax(line, format!("unknown directive `{word}`"));
                };
                module.variables.extend(variables(cursor, space, external)?);
                return Ok(());
            }
        }
    }
}

/// `.align 4 .v2 .b8 name[3][4] = {…}, other;` after its space.
pub(super) fn variables(cursor: &mut Cursor, space: Space, external: bool) -> Result<Vec<Variable>, Syntax> {
    let mut found = Vec::new();
    let (ty, lanes, align) = type_and_alignment(cursor)?;
    loop {
        found.push(declarator(cursor, space, ty, lanes, align, external)?);
        match cursor.mark()? {
            ',' => {}
            ';' => return Ok(found),
            other => {
                return syntax(
                    cursor.line(),
                    format!("expected `,` or `;` after a variable, found `{other}`"),
                );
            }
        }
    }
}

fn type_and_alignment(cursor: &mut Cursor) -> Result<(Type, usize, Option<usize>), Syntax> {
    let (mut align, mut lanes) = (None, 1);
    loop {
        let line = cursor.line();
        match cursor.word()? {
            ".align" => {
                let value = cursor.integer()?;
                if !value.is_power_of_two() || value > 1 << 20 {
                    return syntax(line, format!("alignment {value} is no power of two up to 2^20"));
                }
                align = Some(value as usize);
            }
            ".v2" => lanes = 2,
            ".v4" => lanes = 4,
            ".attribute" => cursor.skip_past(')')?,
            ".ptr" => {}
            word if word.strip_prefix('.').and_then(Space::parse).is_some() => {}
            word => {
                return match word.strip_prefix('.').and_then(Type::parse) {
                    Some(ty) => Ok((ty, lanes, align)),
                    None => syntax(line, format!("expected a type, found `{word}`")),
                };
            }
        }
    }
}

fn declarator(
    cursor: &mut Cursor,
    space: Space,
    ty: Type,
    lanes: usize,
    align: Option<usize>,
    external: bool,
) -> Result<Variable, Syntax> {
    let line = cursor.line();
    // Parameters state their alignment after the type: `.param .u64 .ptr .global .align 4 name`.
    let (mut name, mut align) = (cursor.word()?, align);
    while name.starts_with('.') {
        if name == ".align" {
            align = Some(cursor.integer()?.clamp(1, 1 << 20) as usize);
        }
        name = cursor.word()?;
    }
    let name = name.to_string();
    let element = ty.bytes() * lanes;
    let mut count = Some(1usize);
    let mut unsized_first = false;
    while cursor.take('[') {
        if cursor.take(']') {
            unsized_first = true;
            continue;
        }
        let dimension = cursor.integer()? as usize;
        count = count.and_then(|count| count.checked_mul(dimension));
        cursor.expect(']')?;
    }
    let mut init = Vec::new();
    if cursor.take('=') {
        initialiser(cursor, &mut init)?;
    }
    let elements = if unsized_first { Some(init.len()) } else { count };
    let bytes = elements.and_then(|n| n.checked_mul(element)).filter(|&bytes| bytes < 1 << 40);
    let Some(bytes) = bytes else { return syntax(line, format!("`{name}` is too large")) };
    if init.len() > bytes.checked_div(ty.bytes()).unwrap_or(0) {
        return syntax(line, format!("`{name}` has more initialisers than elements"));
    }
    Ok(Variable { line, name, space, ty, align: align.unwrap_or(element.max(1)), bytes, external, init })
}

fn initialiser(cursor: &mut Cursor, init: &mut Vec<Init>) -> Result<(), Syntax> {
    if cursor.take('{') {
        while !cursor.take('}') {
            initialiser(cursor, init)?;
            cursor.take(',');
        }
        return Ok(());
    }
    let line = cursor.line();
    let negative = cursor.take('-');
    let value = match cursor.next()? {
        Kind::Integer(value) => Init::Bits(if negative { value.wrapping_neg() } else { *value }),
        Kind::Single(bits) => Init::Bits(u64::from(*bits)),
        Kind::Double(bits) => Init::Bits(*bits),
        Kind::Word(word) if word == "generic" => {
            cursor.expect('(')?;
            let name = cursor.word()?.to_string();
            cursor.expect(')')?;
            Init::Address { name, generic: true, offset: 0 }
        }
        Kind::Word(name) => Init::Address { name: name.clone(), generic: false, offset: 0 },
        _ => return syntax(line, "expected an initialiser: a number, a name or `{…}`"),
    };
    init.push(match value {
        Init::Address { name, generic, .. } if cursor.take('+') => {
            Init::Address { name, generic, offset: cursor.integer()? as i64 }
        }
        value => value,
    });
    Ok(())
}

fn function(cursor: &mut Cursor, entry: bool, line: u32) -> Result<Function, Syntax> {
    let returns = if cursor.is('(') { params(cursor)? } else { Vec::new() };
    let name = cursor.word()?.to_string();
    let params = if cursor.is('(') { params(cursor)? } else { Vec::new() };
    let mut found =
        Function { line, name, entry, returns, params, block_required: None, block_max: None, body: None };
    loop {
        if cursor.take(';') {
            return Ok(found);
        }
        if cursor.take('{') {
            found.body = Some(body::statements(cursor, 0)?);
            return Ok(found);
        }
        let line = cursor.line();
        match cursor.word()? {
            ".maxntid" => {
                let threads = dimensions(cursor)?.iter().try_fold(1u32, |all, &n| all.checked_mul(n));
                found.block_max = threads;
            }
            ".reqntid" => found.block_required = Some(dimensions(cursor)?),
            ".minnctapersm" | ".maxnreg" | ".maxclusterrank" => drop(cursor.integer()?),
            ".reqnctapercluster" => drop(dimensions(cursor)?),
            ".noreturn" | ".explicitcluster" | ".blocksareclusters" => {}
            ".pragma" => cursor.skip_past(';')?,
            other => {
                return syntax(line, format!("unknown directive `{other}` in the head of `{}`", found.name));
            }
        }
    }
}

fn dimensions(cursor: &mut Cursor) -> Result<[u32; 3], Syntax> {
    let mut all = [1; 3];
    for (index, one) in all.iter_mut().enumerate() {
        if index > 0 && !cursor.take(',') {
            break;
        }
        *one = cursor.integer()?.min(u64::from(u32::MAX)) as u32;
    }
    Ok(all)
}

fn params(cursor: &mut Cursor) -> Result<Vec<Variable>, Syntax> {
    cursor.expect('(')?;
    let mut found = Vec::new();
    while !cursor.take(')') {
        let line = cursor.line();
        match cursor.word()? {
            ".param" | ".reg" => {}
            other => return syntax(line, format!("expected `.param`, found `{other}`")),
        }
        let (ty, lanes, align) = type_and_alignment(cursor)?;
        found.push(declarator(cursor, Space::Param, ty, lanes, align, false)?);
        cursor.take(',');
    }
    Ok(found)
}

/// A place in the tokens.
pub(super) struct Cursor<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn peek(&self) -> Option<&'a Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub fn peek_second(&self) -> Option<&'a Kind> {
        self.tokens.get(self.at + 1).map(|token| &token.kind)
    }

    /// Line of the next token; of the last one at the end.
    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    pub fn next(&mut self) -> Result<&'a Kind, Syntax> {
        let Some(kind) = self.peek() else { return syntax(self.line(), "the file ends too early") };
        self.at += 1;
        Ok(kind)
    }

    pub fn is(&self, mark: char) -> bool {
        self.peek() == Some(&Kind::Mark(mark))
    }

    pub fn take(&mut self, mark: char) -> bool {
        let is = self.is(mark);
        self.at += usize::from(is);
        is
    }

    pub fn expect(&mut self, mark: char) -> Result<(), Syntax> {
        if self.take(mark) {
            Ok(())
        } else {
            syntax(self.line(), format!("expected `{mark}`{}", self.found()))
        }
    }

    fn found(&self) -> String {
        match self.peek() {
            Some(Kind::Word(word)) => format!(", found `{word}`"),
            Some(Kind::Mark(mark)) => format!(", found `{mark}`"),
            _ => String::new(),
        }
    }

    pub fn mark(&mut self) -> Result<char, Syntax> {
        let line = self.line();
        match self.next()? {
            Kind::Mark(mark) => Ok(*mark),
            _ => syntax(line, "expected punctuation"),
        }
    }

    pub fn word(&mut self) -> Result<&'a str, Syntax> {
        let (line, found) = (self.line(), self.found());
        match self.next()? {
            Kind::Word(word) => Ok(word),
            _ => syntax(line, format!("expected a name{found}")),
        }
    }

    /// An integer, perhaps negative (as its 64 bits).
    pub fn integer(&mut self) -> Result<u64, Syntax> {
        let (line, negative) = (self.line(), self.take('-'));
        match self.next()? {
            Kind::Integer(value) => Ok(if negative { value.wrapping_neg() } else { *value }),
            _ => syntax(line, "expected an integer"),
        }
    }

    fn text(&mut self) -> Result<String, Syntax> {
        let line = self.line();
        match self.next()? {
            Kind::Text(text) => Ok(text.clone()),
            _ => syntax(line, "expected a string"),
        }
    }

    /// Directives without a semicolon end with their line.
    pub fn rest_of_line(&mut self) {
        let Some(line) = self.at.checked_sub(1).map(|before| self.tokens[before].line) else { return };
        while self.tokens.get(self.at).is_some_and(|token| token.line == line) {
            self.at += 1;
        }
    }

    pub fn skip_past(&mut self, mark: char) -> Result<(), Syntax> {
        while *self.next()? != Kind::Mark(mark) {}
        Ok(())
    }

    fn skip_braces(&mut self) -> Result<(), Syntax> {
        self.expect('{')?;
        let mut open = 1;
        while open > 0 {
            match self.next()? {
                Kind::Mark('{') => open += 1,
                Kind::Mark('}') => open -= 1,
                _ => {}
            }
        }
        Ok(())
    }
}
