// JSON laid out for reading. It is not parsed and printed again: a number of twenty digits must stay what it is, and keys
// in their order.

const DEEPEST = 40;

/** The text with two spaces a level, each token as it was; null where the text is no JSON object or array. */
export function indent(text) {
  if (!/^\s*[[{]/.test(text)) return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/gs) ?? [];
  let depth = 0;
  let out = '';
  // Deeper nesting than this is not readable anyway, and must not blow up what is shown.
  const breakLine = () => `\n${'  '.repeat(Math.min(depth, DEEPEST))}`;
  tokens.forEach((token, index) => {
    const before = tokens[index - 1];
    if (token === ']' || token === '}') {
      depth -= 1;
      out += before === '[' || before === '{' ? token : breakLine() + token;
      return;
    }
    if (before === '[' || before === '{' || before === ',') out += breakLine();
    out += token === ':' ? ': ' : token;
    if (token === '[' || token === '{') depth += 1;
  });
  return out;
}
