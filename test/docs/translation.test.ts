import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const page = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');

/** What a translation must share with its original. */
interface Shared {
  /** Levels of the headings, in order. */
  readonly headings: readonly number[];
  /** Lines of code without comments and without the spaces before them. */
  readonly code: readonly string[];
  /** Code within the text, without what holds a translated word; sorted, because the order of words differs. */
  readonly inlineCode: readonly string[];
  /** Targets of links, without those to the other language. */
  readonly links: readonly string[];
  /** The numbers of each row of a table. */
  readonly tables: readonly (readonly string[])[];
}

function sharedParts(text: string): Shared {
  const blocks = [...text.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block);
  const prose = text.replaceAll(/^```\w*\n[\s\S]*?^```$/gm, '');
  return {
    headings: [...prose.matchAll(/^(#+) /gm)].map(([, marks = '']) => marks.length),
    code: blocks.flatMap((block) => block.split('\n').map((line) => line.replace(/ +(?:#|\/\/) .*$/, '').trimEnd())),
    inlineCode: [...prose.matchAll(/`[^`\n]+`/g)].map(([code]) => code).toSorted(),
    links: [...prose.matchAll(/\]\(([^)]+)\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !/^README(?:\.\w+)?\.md$/.test(target))
      .toSorted(),
    tables: [...prose.matchAll(/^\|.*\|$/gm)].map(([row]) => row.match(/\d+(?:\.\d+)?/g) ?? []),
  };
}

describe('README.zh.md', () => {
  const original = sharedParts(page('README.md'));
  const translated = sharedParts(page('README.zh.md'));

  it.each(['headings', 'code', 'inlineCode', 'links', 'tables'] as const)('has the %s of README.md', (part) => {
    expect(translated[part]).toEqual(original[part]);
    expect(original[part].length).toBeGreaterThan(0);
  });

  it('is linked from README.md, and links back', () => {
    expect(page('README.md')).toContain('](README.zh.md)');
    expect(page('README.zh.md')).toContain('](README.md)');
  });

  it('is written in Chinese', () => {
    const paragraphs = page('README.zh.md')
      .replaceAll(/^```\w*\n[\s\S]*?^```$/gm, '')
      .split(/\n{2,}/)
      .filter((paragraph) => !/^(?:# Whetstone|\[English\]|\s*$)/.test(paragraph));
    expect(paragraphs.filter((paragraph) => !/\p{Script=Han}/u.test(paragraph))).toEqual([]);
  });
});
