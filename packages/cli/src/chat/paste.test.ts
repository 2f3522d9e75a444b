import { describe, expect, it } from 'vitest';
import { pasteAsOneLine, withLineBreaks } from './paste.js';

async function through(...chunks: readonly (string | Buffer)[]): Promise<string> {
  const stream = pasteAsOneLine(process.stdin);
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}

describe('pasted text', () => {
  it('is one line, whose breaks come back', async () => {
    const line = await through('\u001B[200~one\r\ntwo\n\tthree\u001B[201~\r');
    expect(line).toBe('one⏎two⏎\tthree\r');
    expect(withLineBreaks(line.trimEnd())).toBe('one\ntwo\n\tthree');
  });

  it('is recognised wherever its chunks begin', async () => {
    const bytes = Buffer.from('a\u001B[200~ä\nö\u001B[201~\u001B[A\r');
    for (let at = 1; at < bytes.length; at++)
      expect(await through(bytes.subarray(0, at), bytes.subarray(at)), `cut at ${at}`).toBe('aä⏎ö\u001B[A\r');
  });

  it('contains no control characters that the line editor would obey', async () => {
    expect(await through('\u001B[200~x\u0003\u0004\u001B[Ay\u001B[201~')).toBe('x[Ay');
  });

  it('does not change what is typed', async () => {
    expect(await through('a\r', '\u001B', '\u0003', '\u001B[D')).toBe('a\r\u001B\u0003\u001B[D');
  });
});
