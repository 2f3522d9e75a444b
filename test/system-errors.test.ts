import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fileError, uncaughtFileError, writeError } from '@whetstone/core/files';
import { execute, repository } from './support/execute.js';

/** Later versions of Node open fewer files at a time. */
const isTooFew = Number(process.versions.node.split('.')[0]) < 22;

const programs = [
  'packages/cli/bin/whetstone.js',
  'packages/backend/bin/whetstone-backend.js',
  'packages/create-whetstone-plugin/bin/create-whetstone-plugin.js',
];

it.skipIf(process.platform === 'win32').each(programs)(
  '%s works or ends with a coded error if it may open only few files',
  async (program) => {
    const files = program.includes('create') ? 22 : 32;
    const command = `ulimit -n ${files} && exec "${process.execPath}" "${join(repository, program)}" --help`;
    const result = await execute('sh', ['-c', command], repository);
    expect(isTooFew ? [1] : [0, 1], result.stderr).toContain(result.code);
    expect(result.stderr).toMatch(result.code === 0 ? /^$/ : /^\[TOO_MANY_FILES\] .*\n {2}hint: .*ulimit -n \d+\n$/);
  },
);

/** Makes the file system refuse to open the file of a package that \`--version\` reads. */
const refuse = `
  import fs from 'node:fs';
  import { syncBuiltinESMExports } from 'node:module';
  const read = fs.readFileSync;
  fs.readFileSync = (file, ...rest) => {
    if (String(file).endsWith('backend/package.json'))
      throw Object.assign(new Error("EMFILE: too many open files, open '/a'"), { code: 'EMFILE', path: '/a' });
    return read(file, ...rest);
  };
  syncBuiltinESMExports();`;

it('a command that cannot open a file later ends with the same error', async () => {
  const program = join(repository, 'packages/backend/bin/whetstone-backend.js');
  const preload = `data:text/javascript,${encodeURIComponent(refuse)}`;
  const result = await execute(process.execPath, ['--import', preload, program, '--version', '--json'], repository);
  expect(result).toMatchObject({ code: 1, stderr: expect.stringMatching(/^\[TOO_MANY_FILES\] .*\n {2}hint: /) });
  expect(JSON.parse(result.stdout)).toMatchObject({ error: { code: 'TOO_MANY_FILES' } });
});

/** A device that is always full. */
const full = '/dev/full';

it.skipIf(!existsSync(full)).each(programs)('%s ends with a coded error if its output is full', async (program) => {
  const command = `exec "${process.execPath}" "${join(repository, program)}" --help >${full}`;
  const result = await execute('sh', ['-c', command], repository);
  expect(result).toEqual({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/^\[DISK_FULL\] Standard output cannot be written: ENOSPC.*\n {2}hint: .*\n$/),
  });
});

it.skipIf(!existsSync(full)).each(programs)('%s needs no standard error', async (program) => {
  const command = `exec "${process.execPath}" "${join(repository, program)}" --nonsense 2>${full}`;
  expect(await execute('sh', ['-c', command], repository)).toEqual({ code: 2, stdout: '', stderr: '' });
});

const limit = Object.assign(new Error("EMFILE: too many open files, open '/a'"), { code: 'EMFILE' });

it.each([
  ['an error of the file system', limit],
  ['an import', new Error('The plugin cannot be loaded.', { cause: limit })],
  ['an error without a code', new Error('ENFILE: file table overflow, open')],
])('%s that cannot open more files is recognised', (_, error) => {
  expect(uncaughtFileError(error)).toMatchObject({ code: 'TOO_MANY_FILES', hint: expect.stringContaining('ulimit') });
});

it('names the file that could not be read or written', () => {
  for (const convert of [fileError, writeError])
    expect(convert(limit, '/a')).toMatchObject({ code: 'TOO_MANY_FILES', message: expect.stringContaining("'/a'") });
});

/** An error of the file system, as Node makes it. */
const failed = (code: string, syscall: string, path?: string): Error =>
  Object.assign(new Error(`${code}: reason, ${syscall}`), { code, syscall, path });

it.each([
  ['open', 'ENOENT', 'FILE_NOT_FOUND'],
  ['open', 'EACCES', 'FILE_UNREADABLE'],
  ['scandir', 'EIO', 'FILE_UNREADABLE'],
  ['mkdir', 'EACCES', 'FILE_UNWRITABLE'],
  ['rename', 'EROFS', 'FILE_UNWRITABLE'],
  ['write', 'ENOSPC', 'DISK_FULL'],
  ['copyfile', 'EDQUOT', 'DISK_FULL'],
])('%s that fails with %s and reaches the command is %s', (syscall, code, expected) => {
  expect(uncaughtFileError(failed(code, syscall, '/a'))).toMatchObject({ code: expected, place: { file: '/a' } });
});

it('a full disk is named if the error names no file', () => {
  expect(uncaughtFileError(failed('ENOSPC', 'write'))).toMatchObject({ code: 'DISK_FULL', place: undefined });
});

it('other errors are not mistaken for it', () => {
  for (const error of [
    new Error('no EMFILE here'),
    new Error('too many open files'),
    failed('ENOENT', 'spawn pip', 'pip'),
    failed('ECONNREFUSED', 'connect'),
    null,
    'EMFILE',
  ])
    expect(uncaughtFileError(error)).toBe(error);
});
