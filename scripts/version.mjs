// Makes the next version of what the changesets say: raises the version of all packages and moves the texts of the
// changesets into CHANGELOG.md. Nothing is committed or published. Run by `npm run release:version`.
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';

const changeset = createRequire(import.meta.url).resolve('@changesets/cli/bin.js');
const run = (...parameters) => execFileSync(process.execPath, [changeset, ...parameters], { stdio: 'inherit' });

const planFile = '.changeset/plan.json';
run('status', `--output=${planFile}`);
const { changesets, releases } = JSON.parse(readFileSync(planFile, 'utf8'));
rmSync(planFile);
const version = releases[0]?.newVersion;
if (version === undefined) throw new Error('No changeset was found: nothing would be in the new version.');

const kinds = ['major', 'minor', 'patch'];
const headings = { major: 'Breaking changes', minor: 'Changes', patch: 'Fixes' };
const kindOf = (one) => kinds.find((kind) => one.releases.some(({ type }) => type === kind)) ?? 'patch';
const sections = kinds.flatMap((kind) => {
  const texts = changesets.filter((one) => kindOf(one) === kind).map(({ summary }) => summary.trim());
  // Further lines of a text belong to its item.
  const items = texts.map((text) => `- ${text.replaceAll('\n', '\n  ').replaceAll(/ +$/gm, '')}`);
  return items.length === 0 ? [] : [`### ${headings[kind]}\n\n${items.join('\n')}\n`];
});

run('version');
const changelog = readFileSync('CHANGELOG.md', 'utf8');
const [introduction, ...versions] = changelog.split(/^(?=## )/m);
const entry = `## ${version}\n\n${sections.join('\n')}\n`;
writeFileSync('CHANGELOG.md', [introduction, entry, ...versions].join(''));
