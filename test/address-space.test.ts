import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { execute, repository } from './support/execute.js';

// Clusters limit the address space of a process. WebAssembly reserves about 10 GB for each memory: it must not be
// loaded when a module is imported, and readers do without it. The processes run the build, as `npm test` makes it.

const limited = (...command: readonly string[]) =>
  execute('bash', ['-c', 'ulimit -v 8388608; exec "$@"', 'bash', process.execPath, ...command], repository);

const program = (text: string): readonly string[] => ['--input-type=module', '--eval', text];

describe.skipIf(process.platform !== 'linux')('with 8 GB of address space', () => {
  it('WebAssembly has no memory before Node 24', async () => {
    const { stderr } = await limited(...program('new WebAssembly.Memory({ initial: 1 });'));
    const hasMemory = Number(process.versions.node.split('.')[0]) >= 24;
    expect(stderr).toMatch(hasMemory ? /^$/ : /could not allocate memory/);
  });

  it('the command starts', async () => {
    const { code, stdout, stderr } = await limited('packages/cli/dist/main.js', '--help');
    expect(stderr).toBe('');
    expect(stdout).toContain('Usage: whetstone');
    expect(code).toBe(0);
  });

  it.each(['snappy', 'zstd'])('Parquet with the codec %s is read', async (codec) => {
    const file = join(repository, 'packages/data/test-data', `messages.${codec}.parquet`);
    const { code, stdout, stderr } = await limited(
      ...program(
        `import { createConversationSource } from '@whetstone/data';
        const source = await createConversationSource({ path: ${JSON.stringify(file)} }, '.');
        for await (const { messages } of source.conversations()) console.log(messages[0].content);`,
      ),
    );
    expect(stderr).toBe('');
    expect(stdout).toBe('Hi\n2+2\n');
    expect(code).toBe(0);
  });
});
