import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { errorCodes, hookTable, type ErrorCode, type HookName } from '@whetstone/core/contract';
import { clusterOfEnvironment } from '@whetstone/core/distributed';
import { describe, expect, it } from 'vitest';
import { mayImport } from '../scripts/import-rules.mjs';

const page = (name: string) => readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8');

describe('docs/errors.md', () => {
  const sections = page('errors.md')
    .split(/^### /m)
    .slice(1)
    .map((section) => {
      const [code = '', summary = '', ...text] =
        section
          .split(/^## /m)[0]
          ?.split('\n')
          .filter((line) => line !== '') ?? [];
      return { code, summary, text: text.join('\n') };
    });

  it('has a section for every code of the table, in its order, and no other', () => {
    expect(sections.map(({ code }) => code)).toEqual(Object.keys(errorCodes));
  });

  it.each(sections)(
    '$code: summary and exit code are those of the table, and there is more to read',
    ({ code, summary, text }) => {
      const kind = errorCodes[code as ErrorCode];
      expect(summary).toBe(`${kind.summary} (exit code ${kind.exitCode})`);
      expect(text.length).toBeGreaterThan(20);
    },
  );
});

describe('docs/hooks.md', () => {
  const rows = [...page('hooks.md').matchAll(/^\| `(\w+)` \| (\w+) \| (yes|no) \| (.+) \|$/gm)].map(
    ([, hook, kind, control, summary]) => ({ hook, kind, control: control === 'yes', summary }),
  );

  it('shows the hook table as it is', () => {
    expect(rows).toEqual(
      (Object.keys(hookTable) as HookName[]).map((hook) => ({
        hook,
        kind: hookTable[hook].kind,
        control: hookTable[hook].control,
        summary: hookTable[hook].summary,
      })),
    );
  });
});

it('ARCHITECTURE.md shows the import directions that are checked', () => {
  const rows = page('../ARCHITECTURE.md').matchAll(/^\| `([\w/-]+)` \| .* \| (.+) \|$/gm);
  const shown = [...rows].map(([, folder = '', imports = '']) => {
    const listed = imports === 'nothing' ? [] : [...imports.matchAll(/`([^`]+)`/g)].map(([, name]) => name);
    return [folder, listed];
  });
  const checked = Object.entries(mayImport).filter(([folder]) => !folder.startsWith('core/'));
  expect(shown).toEqual([
    ['core/contract', mayImport['core/contract']],
    ['core/util', mayImport['core/util']],
    ['core/ops', mayImport['core/ops']],
    ...checked,
  ]);
});

it('docs/lifecycle.md names every hook', () => {
  const named = new Set([...page('lifecycle.md').matchAll(/► (\w+)/g)].map(([, hook]) => hook));
  expect(named).toEqual(new Set(Object.keys(hookTable)));
});

describe.skipIf(process.platform === 'win32')('docs/several-processes.md', () => {
  /** The clusters that a script of the page hands to the command, with stand-ins for the commands that it calls. */
  function clustersOf(title: RegExp): (string | undefined)[] {
    const script =
      [...page('several-processes.md').matchAll(/```sh\n(.*?)```/gs)]
        .map(([, text = '']) => text)
        .find((text) => title.test(text)) ?? '';
    const folder = mkdtempSync(join(tmpdir(), 'whetstone-docs-'));
    const commands = {
      npx: 'echo "$TF_CONFIG"',
      'node_modules/.bin/whetstone': 'echo "$TF_CONFIG"',
      scontrol: '[ "$*" = "show hostnames n[1-4]" ] && printf "n1\\nn2\\nn3\\nn4\\n"',
      srun: 'for node in 0 1 2 3; do SLURM_NODEID=$node "$@"; done',
    };
    try {
      mkdirSync(join(folder, 'node_modules', '.bin'), { recursive: true });
      for (const [name, body] of Object.entries(commands)) {
        writeFileSync(join(folder, name), `#!/bin/sh\n${body}\n`);
        chmodSync(join(folder, name), 0o755);
      }
      const printed = execFileSync('bash', ['-c', script], {
        cwd: folder,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { PATH: `${folder}${delimiter}${process.env['PATH']}`, SLURM_JOB_NODELIST: 'n[1-4]' },
      });
      return printed.trim().split('\n');
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  it('the shell loop starts both workers of one cluster', () => {
    const clusters = clustersOf(/^for index/).map((TF_CONFIG) => clusterOfEnvironment({ TF_CONFIG }));
    expect(clusters.map((cluster) => cluster?.rank).toSorted()).toEqual([0, 1]);
    expect(clusters[0]?.addresses).toEqual(['127.0.0.1:2222', '127.0.0.1:2223']);
  });

  it('the Slurm script gives each node its place', () => {
    const clusters = clustersOf(/#SBATCH/).map((TF_CONFIG) => clusterOfEnvironment({ TF_CONFIG }));
    expect(clusters).toEqual(
      [0, 1, 2, 3].map((rank) => ({ rank, count: 4, addresses: ['n1:2222', 'n2:2222', 'n3:2222', 'n4:2222'] })),
    );
  });
});
