import { readFileSync } from 'node:fs';
import { errorCodes, hookTable, type ErrorCode, type HookName } from '@whetstone/core/contract';
import { describe, expect, it } from 'vitest';

const page = (name: string) => readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8');

describe('docs/errors.md', () => {
  const sections = page('errors.md').split(/^### /m).slice(1).map((section) => {
    const [code = '', summary = '', ...text] = section.split(/^## /m)[0]?.split('\n').filter((line) => line !== '') ?? [];
    return { code, summary, text: text.join('\n') };
  });

  it('has a section for every code of the table, in its order, and no other', () => {
    expect(sections.map(({ code }) => code)).toEqual(Object.keys(errorCodes));
  });

  it.each(sections)('$code: summary and exit code are those of the table, and there is more to read', ({ code, summary, text }) => {
    const kind = errorCodes[code as ErrorCode];
    expect(summary).toBe(`${kind.summary} (exit code ${kind.exitCode})`);
    expect(text.length).toBeGreaterThan(20);
  });
});

describe('docs/hooks.md', () => {
  const rows = [...page('hooks.md').matchAll(/^\| `(\w+)` \| (\w+) \| (yes|no) \| (.+) \|$/gm)].map(([, hook, kind, control, summary]) => ({ hook, kind, control: control === 'yes', summary }));

  it('shows the hook table as it is', () => {
    expect(rows).toEqual((Object.keys(hookTable) as HookName[]).map((hook) => ({ hook, kind: hookTable[hook].kind, control: hookTable[hook].control, summary: hookTable[hook].summary })));
  });
});

it('docs/lifecycle.md names every hook', () => {
  const named = new Set([...page('lifecycle.md').matchAll(/► (\w+)/g)].map(([, hook]) => hook));
  expect(named).toEqual(new Set(Object.keys(hookTable)));
});
