// Runs the quick suite on the newest Node.js of each major version that is tested. Then runs the packed packages on the
// oldest Node.js that their `engines` allow, which is older than what the tools of the tests need.
// `npm run test:nodes -- [20 22 24 26 oldest]` runs some of them.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { everyNode, runQuickSuite } from './quick.mjs';
import { repository } from './report.mjs';

const majors = ['20', '22', '24', '26'];
/** npm's package with the Node.js program of this platform. */
const distribution = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
const folder = mkdtempSync(join(tmpdir(), 'whetstone-nodes-'));
// A test runs the command as another user.
chmodSync(folder, 0o755);

const { engines } = JSON.parse(readFileSync(join(repository, 'packages/cli/package.json'), 'utf8'));
const oldest = /^>=(\d+\.\d+\.\d+)$/.exec(engines.node)?.[1];
if (oldest === undefined) throw new Error(`Expected ">=major.minor.patch" as engines.node, found "${engines.node}".`);

/** The newest published version of a major version. */
function newest(major) {
  const versions = execFileSync('npm', ['view', `${distribution}@${major}`, 'version', '--json'], { encoding: 'utf8' });
  const order = new Intl.Collator('en', { numeric: true });
  return [JSON.parse(versions)].flat().sort(order.compare).at(-1);
}

/** Fetches a version. @returns the path of its program */
function fetchNode(version) {
  const target = join(folder, version);
  mkdirSync(target);
  execFileSync('npm', ['pack', `${distribution}@${version}`, '--pack-destination', target], { stdio: 'ignore' });
  execFileSync('tar', ['-xzf', readdirSync(target)[0], 'package/bin'], { cwd: target });
  const node = join(target, 'package/bin', process.platform === 'win32' ? 'node.exe' : 'node');
  const found = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  if (found !== `v${version}`) throw new Error(`Expected Node.js ${version} in ${distribution}, found ${found}.`);
  return node;
}

/** Runs the command of the packed and installed packages on a Node.js of its own. */
function runPackedPackages(node) {
  const { status } = spawnSync('npm', ['test', '--', 'test/third-party.test.ts'], {
    cwd: repository,
    env: { ...process.env, WHETSTONE_TEST_NODE: node },
    stdio: 'inherit',
  });
  return status === 0;
}

const wanted = process.argv.length > 2 ? process.argv.slice(2) : [...majors, 'oldest'];
const results = [];
try {
  for (const name of wanted) {
    const version = name === 'oldest' ? oldest : newest(name);
    console.log(`\nNode.js ${version}: ${name === 'oldest' ? 'the packed packages' : 'the quick suite'}`);
    const node = fetchNode(version);
    const begun = performance.now();
    const passed = name === 'oldest' ? runPackedPackages(node) : runQuickSuite({ node, include: everyNode });
    const minutes = ((performance.now() - begun) / 60_000).toFixed(1);
    results.push({ passed, line: `Node.js ${version}: ${passed ? 'passed' : 'FAILED'} in ${minutes} minutes` });
    rmSync(join(folder, version), { recursive: true });
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`\n${results.map(({ line }) => line).join('\n')}`);
if (!results.every(({ passed }) => passed)) process.exitCode = 1;
