import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTinyModel } from 'whetstone';
import { execute, repository } from './support/execute.js';

const folder = mkdtempSync(join(tmpdir(), 'whetstone-chat-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(() => createTinyModel(join(folder, 'tiny'), { hiddenSize: 16, layers: 1 }));

const hasTerminals = ((): boolean => {
  try {
    return execFileSync('python3', ['-c', 'import pty; print("yes")'], { encoding: 'utf8' }).trim() === 'yes';
  } catch {
    return false;
  }
})();

interface Transcript {
  readonly code: number;
  readonly output: string;
  /** What was expected and did not appear. */
  readonly missing: readonly string[];
}

/** Chats on a terminal: types the keys of each step when the text before them has appeared. */
async function chat(...steps: readonly (readonly [expected: string, keys: string])[]): Promise<Transcript> {
  const command = [
    process.execPath,
    join(repository, 'packages/cli/dist/main.js'),
    'chat',
    'tiny',
    '--backend',
    'cpu',
    '--max-new-tokens',
    '3',
    '--temperature',
    '1',
  ];
  const script = join(repository, 'test/support/terminal.py');
  const { stdout, stderr } = await execute('python3', [script, JSON.stringify(steps), ...command], folder);
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as Transcript;
}

const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const paste = (text: string): string => `\u001B[200~${text}\u001B[201~`;

describe.skipIf(!hasTerminals)('chat on a terminal', () => {
  it('clears the line at Ctrl-C and quits at the second one, as the banner says', async () => {
    const { code, output, missing } = await chat(
      ['> ', `not sent${CTRL_C}`],
      ['quits.', '/save typed.jsonl\r'],
      ['conversation is empty', CTRL_C],
      ['quits.', CTRL_C],
    );
    expect(missing, output).toEqual([]);
    expect(code).toBe(130);
    expect(output).toContain('Ctrl-C stops a reply or clears the line, twice it quits');
    expect(existsSync(join(folder, 'typed.jsonl'))).toBe(false);
  });

  it('takes a pasted text of several lines as one message, and keeps the conversation', async () => {
    const { code, output, missing } = await chat(
      ['> ', paste('first line\nsecond line')],
      ['second line', '\r'],
      ['> ', '/system Be brief.\r'],
      ['next replies', '/retry\r'],
      ['> ', '/save saved.jsonl\r'],
      ['3 messages saved', '/reset\r'],
      ['new conversation', '/retry\r'],
      ['No message', '/hlep\r'],
      ['help', '/help\r'],
      ['/adapter [FOLDER]', '/adapter none-such\r'],
      ['ADAPTER_INVALID', '/adapter\r'],
      ['No adapter is used', CTRL_D],
    );
    expect(missing, output).toEqual([]);
    expect(code).toBe(0);
    const [line = '', ...others] = readFileSync(join(folder, 'saved.jsonl'), 'utf8').trimEnd().split('\n');
    expect(others).toEqual([]);
    const { messages } = JSON.parse(line) as { readonly messages: readonly object[] };
    expect(messages).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'first line\nsecond line' },
      { role: 'assistant', content: expect.any(String) as string },
    ]);
  });
});
