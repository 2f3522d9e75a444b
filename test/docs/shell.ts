/** A simple command of a shell script: its words, quotes taken off, and where it begins. */
export interface ShellCommand {
  /** Line within the script, from 0. */
  readonly line: number;
  readonly words: readonly string[];
}

const separators = new Set([';', '&', '|', '\n', '(', ')']);
/** Words that stand before a command and are none. */
const prefixes = new Set(['do', 'then', 'else', 'if', 'while', '!', '{', 'exec', 'time']);

/** Removes the files to which a command is redirected: `< prompts.txt`, `> replies.jsonl`. */
const withoutRedirections = (words: readonly string[]): readonly string[] =>
  words.filter((word, at) => !isRedirection(word) && !isRedirection(words[at - 1] ?? ''));

const isRedirection = (word: string): boolean => /^(?:<|>>?)$/.test(word);

/**
 * Splits a script into its simple commands. It knows what documentation uses: quotes, comments, continued lines,
 * `&&`, `|`, `;`, `&`, redirections, variables before a command and `bash -c '…'`, whose script is split too.
 */
export function shellCommands(script: string): ShellCommand[] {
  const commands: ShellCommand[] = [];
  let words: { readonly text: string; readonly line: number }[] = [];
  let word: string | null = null;
  let line = 0;
  let start = 0;
  const endWord = () => {
    if (word !== null) words.push({ text: word, line: start });
    word = null;
  };
  const endCommand = () => {
    endWord();
    while (words[0] !== undefined && (prefixes.has(words[0].text) || /^\w+=/.test(words[0].text))) words.shift();
    const [first] = words;
    const texts = withoutRedirections(words.map(({ text }) => text));
    if (first !== undefined) commands.push({ line: first.line, words: texts });
    words = [];
  };
  for (let at = 0; at < script.length; at++) {
    const character = script[at] ?? '';
    if (word === null) start = line;
    if (character === '\\') {
      const next = script[++at] ?? '';
      if (next === '\n') line++;
      else word = (word ?? '') + next;
    } else if (character === '#' && word === null) {
      while (at + 1 < script.length && script[at + 1] !== '\n') at++;
    } else if (character === "'" || character === '"') {
      const end = closingQuote(script, at);
      const quoted = script.slice(at + 1, end);
      word = (word ?? '') + (character === '"' ? quoted.replaceAll(/\\(["\\$`])/g, '$1') : quoted);
      line += quoted.split('\n').length - 1;
      at = end;
    } else if (script.startsWith('$(', at)) {
      const end = closingParenthesis(script, at + 1);
      word = (word ?? '') + script.slice(at, end + 1);
      at = end;
    } else if (separators.has(character)) {
      endCommand();
      if (character === '\n') line++;
    } else if (/\s/.test(character)) {
      endWord();
    } else {
      word = (word ?? '') + character;
    }
  }
  endCommand();
  return commands.flatMap((command) => {
    const at = command.words.indexOf('-c');
    if (at < 0 || !command.words.slice(0, at).includes('bash')) return [command];
    const inner = shellCommands(command.words[at + 1] ?? '');
    return [
      { ...command, words: command.words.slice(0, at) },
      ...inner.map(({ line: innerLine, words: innerWords }) => ({
        line: command.line + innerLine,
        words: innerWords,
      })),
    ];
  });
}

function closingQuote(script: string, at: number): number {
  const quote = script[at];
  for (let end = at + 1; end < script.length; end++) {
    if (script[end] === quote) return end;
    if (script[end] === '\\' && quote === '"') end++;
  }
  return script.length;
}

function closingParenthesis(script: string, at: number): number {
  let depth = 0;
  for (let end = at; end < script.length; end++) {
    if (script[end] === '(') depth++;
    if (script[end] === ')' && --depth === 0) return end;
  }
  return script.length;
}
