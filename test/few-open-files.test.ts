import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fileError, fileLimitError, writeError } from '@whetstone/core/files';
import { execute, repository } from './support/execute.js';

/** Later versions of Node open fewer files at a time. */
const isTooFew = Number(process.versions.node.split('.')[0]) < 22;

it
  .skipIf(process.platform === 'win32')
  .each(['packages/cli/bin/whetstone.js', 'packages/backend/bin/whetstone-backend.js'])(
  '%s works or ends with a coded error if it may open only 32 files',
  async (program) => {
    const command = `ulimit -n 32 && exec "${process.execPath}" "${join(repository, program)}" --help`;
    const result = await execute('sh', ['-c', command], repository);
    expect(isTooFew ? [1] : [0, 1], result.stderr).toContain(result.code);
    expect(result.stderr).toMatch(result.code === 0 ? /^$/ : /^\[TOO_MANY_FILES\] .*\n {2}hint: .*ulimit -n \d+\n$/);
  },
);

const limit = Object.assign(new Error("EMFILE: too many open files, open '/a'"), { code: 'EMFILE' });

it.each([
  ['an error of the file system', limit],
  ['an import', new Error('The plugin cannot be loaded.', { cause: limit })],
  ['an error without a code', new Error('ENFILE: file table overflow, open')],
])('%s that cannot open more files is recognised', (_, error) => {
  expect(fileLimitError(error)).toMatchObject({ code: 'TOO_MANY_FILES', hint: expect.stringContaining('ulimit') });
});

it('names the file that could not be read or written', () => {
  for (const convert of [fileError, writeError])
    expect(convert(limit, '/a')).toMatchObject({ code: 'TOO_MANY_FILES', message: expect.stringContaining("'/a'") });
});

it('other errors are not mistaken for it', () => {
  for (const error of [new Error('no EMFILE here'), new Error('too many open files'), null, 'EMFILE'])
    expect(fileLimitError(error)).toBeNull();
});
