import { expect, test } from 'vitest';
import { counts, createProgram, positive } from './program.js';

/** The options of a command as it would get them, or the message of what is wrong with them. */
async function parsed(...words: string[]): Promise<unknown> {
  const program = createProgram();
  let options: unknown = 'not run';
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({ writeErr: () => {} });
    if (command !== program) command.action((given: unknown) => void (options = given));
  }
  return program.parseAsync(words, { from: 'user' }).then(
    () => options,
    (error: unknown) => (error as Error).message,
  );
}

test('every command reports the median of five runs unless told otherwise; matmul has rounds', async () => {
  const names = createProgram()
    .commands.map((command) => command.name())
    .filter((name) => name !== 'matmul');
  expect(names).toEqual(expect.arrayContaining(['step', 'sft', 'generate', 'data', 'strategies']));
  for (const name of names) {
    expect(await parsed(name)).toMatchObject({ runs: 5 });
    expect(await parsed(name, '--runs', '2')).toMatchObject({ runs: 2 });
    expect(await parsed(name, '--runs', '0')).toContain('at least 1');
  }
  expect(await parsed('matmul')).toMatchObject({ rounds: 12 });
});

test('lists are read, and what is unknown in them is refused', async () => {
  expect(await parsed('generate')).toMatchObject({ prompts: [1, 8, 32], commandPrompts: [1, 8], tokens: 96 });
  expect(await parsed('generate', '--prompts', '1,2', '--command-prompts', '4')).toMatchObject({
    prompts: [1, 2],
    commandPrompts: [4],
  });
  expect(await parsed('generate', '--prompts', '1,many')).toContain('whole number');
  expect(await parsed('generate', '--only', 'library, llama.cpp F16')).toMatchObject({
    only: ['library', 'llama.cpp F16'],
  });
  expect(await parsed('sft')).toMatchObject({ orders: ['random', 'by-length'] });
  expect(await parsed('sft', '--orders', 'by-length')).toMatchObject({ orders: ['by-length'] });
  expect(await parsed('sft', '--orders', 'sorted')).toContain('Known are random, by-length');
  expect(await parsed('data', '--corpus', 'prose', '--workers', '0')).toMatchObject({ corpus: 'prose', workers: 0 });
});

test('numbers are whole and positive', () => {
  expect([positive('3'), counts('1,8,32')]).toEqual([3, [1, 8, 32]]);
  for (const text of ['', '0', '-1', '1.5', 'many']) expect(() => positive(text), text).toThrow('whole number');
});
