import { templates, type Kind } from './kinds.js';
import { inLanguage, type Language } from './language.js';
import { nodeRange, rangeOf } from './versions.js';

/** What decides the contents of a new plugin. */
export interface PluginChoices {
  /** The name of the package, by npm's rules. */
  readonly name: string;
  readonly kind: Kind;
  readonly language: Language;
}

/** Packages with which every plugin is developed. */
const tools = ['@tensorflow/tfjs-core', '@whetstone/testing', 'vitest', 'whetstone'];

/** Returns the packages that a module imports, without those of Node.js. */
function importsOf(source: string): readonly string[] {
  const specifiers = [...source.matchAll(/^import (?:[^;']*? from )?'([^'.][^']*)';$/gm)].map(([, name = '']) => name);
  const packages = specifiers.filter((name) => !name.startsWith('node:'));
  return packages.flatMap((name) => /^(?:@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? []);
}

const withRanges = (names: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries([...new Set(names)].toSorted().map((name) => [name, rangeOf(name)]));

const asJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** Returns the texts of the files of a plugin, by their paths. */
export function filesOf({ name, kind, language }: PluginChoices, pluginName: string): ReadonlyMap<string, string> {
  const template = templates[kind];
  const { description } = template;
  const isTyped = language === 'ts';
  const source = inLanguage(template.source({ name: pluginName, description }), language);
  const test = inLanguage(template.test(), language);
  const folder = isTyped ? 'src/' : '';
  const peers = ['@whetstone/core', ...importsOf(source)];
  const development = [...tools, ...importsOf(test), ...(isTyped ? ['@types/node', 'typescript'] : [])];
  const manifest = {
    name,
    version: '0.1.0',
    description,
    license: 'MIT',
    type: 'module',
    keywords: ['whetstone-plugin'],
    files: isTyped ? ['dist', '!**/*.test.*'] : ['index.js'],
    exports: isTyped ? { '.': { types: './dist/index.d.ts', default: './dist/index.js' } } : './index.js',
    scripts: isTyped ? { build: 'tsc', test: 'vitest run --dir src', prepack: 'tsc' } : { test: 'vitest run' },
    peerDependencies: withRanges(peers),
    devDependencies: withRanges(development.filter((each) => !each.startsWith('@whetstone/core'))),
    engines: { node: nodeRange },
  };
  return new Map([
    ['package.json', asJson(manifest)],
    ['README.md', readme({ name, language, description, configuration: template.configuration(name) })],
    ['.gitignore', isTyped ? 'node_modules\ndist\n' : 'node_modules\n'],
    ...(isTyped ? ([['tsconfig.json', asJson(tsconfig)]] as const) : []),
    [`${folder}index.${language}`, source],
    [`${folder}index.test.${language}`, test],
  ]);
}

const tsconfig = {
  compilerOptions: {
    target: 'es2022',
    module: 'nodenext',
    strict: true,
    declaration: true,
    skipLibCheck: true,
    types: ['node'],
    rootDir: 'src',
    outDir: 'dist',
  },
  include: ['src'],
};

interface ReadmeContents extends Pick<PluginChoices, 'name' | 'language'> {
  readonly description: string;
  readonly configuration: object;
}

const readme = ({ name, language, description, configuration }: ReadmeContents): string => {
  const isTyped = language === 'ts';
  const commands = [
    ['install', 'installs Whetstone and what the tests need'],
    ['test', 'runs the tests; for some kinds, the suite of `@whetstone/testing` is among them'],
    ...(isTyped ? [['run build', 'compiles to `dist`, since Node.js does not run TypeScript in `node_modules`']] : []),
    ['publish', 'publishes the package'],
  ];
  return `# ${name}

A plugin of Whetstone. ${description}

In a configuration, \`use\` is the name of the package, or the path of its module, such as \
\`./${isTyped ? 'src/index.ts' : 'index.js'}\`:

\`\`\`json
${JSON.stringify(configuration, null, 2)}
\`\`\`

| command | purpose |
| --- | --- |
${commands.map(([command = '', purpose = '']) => `| \`npm ${command}\` | ${purpose} |\n`).join('')}`;
};
