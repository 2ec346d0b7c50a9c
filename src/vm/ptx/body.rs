//! Tokens → statements of a function. PTX ISA, sections 4.3, 8 and 11.3.

use super::lex::Kind;
use super::parse::{Cursor, variables};
use super::{Instruction, Operand, Place, Space, Statement, StatementKind, Syntax, Type, syntax};

/// Scopes nest a few deep in what compilers emit; the bound keeps garbage from exhausting the stack.
const MAX_DEPTH: usize = 64;

/// Statements up to the closing brace.
pub(super) fn statements(cursor: &mut Cursor, depth: usize) -> Result<Vec<Statement>, Syntax> {
    if depth > MAX_DEPTH {
        return syntax(cursor.line(), format!("scopes nest more than {MAX_DEPTH} deep"));
    }
    let mut found = Vec::new();
    while !cursor.take('}') {
        let line = cursor.line();
        if cursor.take('{') {
            found.push(Statement { line, kind: StatementKind::Block(statements(cursor, depth + 1)?) });
            continue;
        }
        statement(cursor, &mut found)?;
    }
    Ok(found)
}

fn statement(cursor: &mut Cursor, found: &mut Vec<Statement>) -> Result<(), Syntax> {
    let line = cursor.line();
    let mut push = |kind| found.push(Statement { line, kind });
    if cursor.take('@') {
        let negated = cursor.take('!');
        let guard = (cursor.word()?.to_string(), negated);
        push(StatementKind::Instruction(instruction(cursor, Some(guard))?));
        return Ok(());
    }
    let Some(Kind::Word(word)) = cursor.peek() else {
        return if cursor.take(';') { Ok(()) } else { syntax(line, "expected a statement") };
    };
    if cursor.peek_second() == Some(&Kind::Mark(':')) {
        let name = cursor.word()?.to_string();
        cursor.expect(':')?;
        match cursor.peek() {
            Some(Kind::Word(word)) if word == ".branchtargets" => {
                cursor.word()?;
                let mut labels = vec![cursor.word()?.to_string()];
                while cursor.take(',') {
                    labels.push(cursor.word()?.to_string());
                }
                cursor.expect(';')?;
                push(StatementKind::BranchTargets { name, labels });
            }
            Some(Kind::Word(word)) if word == ".callprototype" => {
                cursor.skip_past(';')?;
                push(StatementKind::CallPrototype { name });
            }
            _ => push(StatementKind::Label(name)),
        }
        return Ok(());
    }
    match word.as_str() {
        word if word == ".reg" || word.starts_with(".reg.") => registers(cursor, found),
        ".loc" => {
            cursor.word()?;
            let at = place(cursor)?;
            let mut inlined_at = None;
            while cursor.line() == line && cursor.peek().is_some() {
                if matches!(cursor.next()?, Kind::Word(word) if word == "inlined_at") {
                    inlined_at = Some(place(cursor)?);
                }
            }
            push(StatementKind::Location { at, inlined_at });
            Ok(())
        }
        ".pragma" => cursor.skip_past(';'),
        word if word.starts_with('.') => {
            let Some(space) = Space::parse(&word[1..]) else {
                return syntax(line, format!("unknown directive `{word}` in a function"));
            };
            cursor.word()?;
            for variable in variables(cursor, space, false)? {
                push(StatementKind::Variable(variable));
            }
            Ok(())
        }
        _ => {
            push(StatementKind::Instruction(instruction(cursor, None)?));
            Ok(())
        }
    }
}

/// File number, line, column.
fn place(cursor: &mut Cursor) -> Result<Place, Syntax> {
    Ok([cursor.integer()? as u32, cursor.integer()? as u32, cursor.integer()? as u32])
}

/// `.b32 %r<9>, x, y;`
fn registers(cursor: &mut Cursor, found: &mut Vec<Statement>) -> Result<(), Syntax> {
    let line = cursor.line();
    // Inline assembly may leave the blank out: `.reg.b32`.
    let word = match cursor.word()? {
        ".reg" => cursor.word()?,
        joined => &joined[".reg".len()..],
    };
    let Some(ty) = word.strip_prefix('.').and_then(Type::parse) else {
        return syntax(line, format!("`{word}` is no register type"));
    };
    loop {
        let name = cursor.word()?.to_string();
        let mut count = None;
        if cursor.take('<') {
            let value = cursor.integer()?;
            if value > 1 << 20 {
                return syntax(line, format!("{value} registers are too many"));
            }
            count = Some(value as u32);
            cursor.expect('>')?;
        }
        found.push(Statement { line, kind: StatementKind::Registers { ty, name, count } });
        match cursor.mark()? {
            ',' => {}
            ';' => return Ok(()),
            other => return syntax(line, format!("expected `,` or `;` after a register, found `{other}`")),
        }
    }
}

fn instruction(cursor: &mut Cursor, guard: Option<(String, bool)>) -> Result<Instruction, Syntax> {
    let line = cursor.line();
    let mut parts = cursor.word()?.split('.').map(str::to_string);
    let opcode = parts.next().filter(|opcode| !opcode.is_empty());
    let Some(opcode) = opcode else { return syntax(line, "expected an instruction") };
    let mut modifiers: Vec<String> = parts.collect();
    if modifiers.iter().any(String::is_empty) {
        return syntax(line, format!("`{opcode}` has an empty modifier"));
    }
    // Inline assembly may put blanks into an opcode: `mma.sync.aligned .m16n8k16`.
    while let Some(Kind::Word(word)) = cursor.peek() {
        let Some(more) = word.strip_prefix('.') else { break };
        modifiers.extend(more.split('.').map(str::to_string));
        cursor.next()?;
    }
    let mut operands = Vec::new();
    while !cursor.take(';') {
        operands.push(operand(cursor, 0)?);
        if !cursor.is(';') {
            cursor.expect(',')?;
        }
    }
    Ok(Instruction { guard, opcode, modifiers, operands })
}

fn operand(cursor: &mut Cursor, depth: usize) -> Result<Operand, Syntax> {
    let line = cursor.line();
    if depth > 4 {
        return syntax(line, "an operand nests too deep");
    }
    let first = if cursor.take('{') {
        Operand::Vector(list(cursor, '}', depth)?)
    } else if cursor.take('(') {
        Operand::List(list(cursor, ')', depth)?)
    } else if cursor.take('[') {
        let address = address(cursor, depth)?;
        cursor.expect(']')?;
        address
    } else if cursor.take('!') {
        Operand::Not(cursor.word()?.to_string())
    } else if cursor.take('-') {
        match cursor.next()? {
            Kind::Integer(value) => Operand::Integer(value.wrapping_neg()),
            Kind::Single(bits) => Operand::Single(bits ^ 1 << 31),
            Kind::Double(bits) => Operand::Double(bits ^ 1 << 63),
            _ => return syntax(line, "expected a number after `-`"),
        }
    } else {
        match cursor.next()? {
            Kind::Word(word) => Operand::Name(word.clone()),
            Kind::Integer(value) => Operand::Integer(*value),
            Kind::Single(bits) => Operand::Single(*bits),
            Kind::Double(bits) => Operand::Double(*bits),
            Kind::Mark(mark) => return syntax(line, format!("expected an operand, found `{mark}`")),
            Kind::Text(_) => return syntax(line, "expected an operand, found a string"),
        }
    };
    if cursor.take('|') {
        return Ok(Operand::Pair(Box::new(first), Box::new(operand(cursor, depth + 1)?)));
    }
    // `mov.u64 %rd1, table+8;`
    if matches!(first, Operand::Name(_)) && cursor.take('+') {
        let offset = cursor.integer()? as i64;
        return Ok(Operand::Address { base: Box::new(first), offset });
    }
    Ok(first)
}

fn list(cursor: &mut Cursor, close: char, depth: usize) -> Result<Vec<Operand>, Syntax> {
    let mut all = Vec::new();
    while !cursor.take(close) {
        all.push(operand(cursor, depth + 1)?);
        if !cursor.is(close) {
            cursor.expect(',')?;
        }
    }
    Ok(all)
}

/// `name`, `name+4`, `name+-4`, `name-4` or `4`.
fn address(cursor: &mut Cursor, depth: usize) -> Result<Operand, Syntax> {
    let base = match operand(cursor, depth + 1)? {
        Operand::Address { base, offset } => return Ok(Operand::Address { base, offset }),
        base => Box::new(base),
    };
    let offset = if cursor.take('+') || cursor.is('-') { cursor.integer()? as i64 } else { 0 };
    Ok(Operand::Address { base, offset })
}
