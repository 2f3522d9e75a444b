/** The style sheet of the report: one column, with a light and a dark theme. */
export const pageStyle = `
:root {
  color-scheme: light dark;
  --ink: #1d2430;
  --dim: #5d6878;
  --ground: #f6f7f9;
  --card: #fff;
  --line: #e3e7ec;
  --bar: #3f6fb5;
  --good: #1f7a4d;
  --warn: #9a6200;
  --bad: #b3261e;
  --learned: #cdeed8;
  --cut: #f7d4d1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8ee;
    --dim: #98a3b3;
    --ground: #12161c;
    --card: #1a2028;
    --line: #2b333e;
    --bar: #7aa5e6;
    --good: #5ec48f;
    --warn: #e0a848;
    --bad: #f2867e;
    --learned: #1f4a33;
    --cut: #55272a;
  }
}
* {
  box-sizing: border-box;
}
body {
  margin: 0;
  background: var(--ground);
  color: var(--ink);
  font:
    15px/1.5 system-ui,
    -apple-system,
    "Segoe UI",
    Roboto,
    "Noto Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    sans-serif;
}
main {
  max-width: 920px;
  margin: 0 auto;
  padding: 32px 20px 64px;
}
header h1 {
  margin: 0 0 4px;
  font-size: 26px;
  line-height: 1.25;
  overflow-wrap: anywhere;
}
header p {
  margin: 0 0 20px;
  color: var(--dim);
}
section {
  background: var(--card);
  border: 1px solid var(--line);
  border-radius: 12px;
  padding: 18px 22px 20px;
  margin-top: 18px;
}
h2 {
  margin: 0 0 6px;
  font-size: 18px;
}
h3 {
  margin: 20px 0 6px;
  font-size: 15px;
}
code {
  font:
    0.88em ui-monospace,
    SFMono-Regular,
    Menlo,
    Consolas,
    monospace;
  overflow-wrap: anywhere;
}
.note,
.none,
figcaption {
  color: var(--dim);
  margin: 0 0 10px;
  font-size: 13.5px;
}
.tiles {
  display: grid;
  grid-template-columns: repeat(auto-fit, minmax(128px, 1fr));
  gap: 12px;
  margin: 4px 0 14px;
}
.tile {
  background: var(--card);
  border: 1px solid var(--line);
  border-radius: 10px;
  padding: 12px 14px;
}
.tile b {
  display: block;
  font-size: 22px;
  line-height: 1.2;
  font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere;
}
.tile span {
  color: var(--dim);
  font-size: 13px;
}
.tile.fine b,
.good {
  color: var(--good);
}
.tile.warn b {
  color: var(--warn);
}
.tile.bad b,
.bad {
  color: var(--bad);
}
figure {
  margin: 12px 0 4px;
}
.plot {
  position: relative;
  height: 150px;
  border-bottom: 1px solid var(--line);
}
.plot.marked {
  margin-top: 30px;
}
svg {
  width: 100%;
  height: 100%;
  display: block;
}
svg rect {
  fill: var(--bar);
}
.mark {
  position: absolute;
  top: -8px;
  bottom: 0;
  width: 0;
  border-left: 1.5px dashed var(--bad);
}
.mark span {
  position: absolute;
  font-style: normal;
  top: -14px;
  left: 4px;
  white-space: nowrap;
  color: var(--dim);
  font-size: 12px;
  line-height: 1;
}
.mark span.left {
  left: auto;
  right: 4px;
}
.axis {
  position: relative;
  height: 20px;
  font-size: 12px;
  color: var(--dim);
  font-variant-numeric: tabular-nums;
}
.axis span {
  position: absolute;
  top: 2px;
  white-space: nowrap;
}
.axis span:last-child:not(:first-child) {
  left: auto !important;
  right: 0;
}
.shares {
  display: grid;
  grid-template-columns: minmax(90px, max-content) 1fr max-content;
  gap: 6px 12px;
  align-items: center;
  font-size: 14px;
}
.shares > span:nth-child(3n + 1) {
  max-width: 260px;
  overflow: hidden;
  text-overflow: ellipsis;
}
.shares i {
  background: var(--ground);
  border-radius: 5px;
  height: 14px;
}
.shares em {
  display: block;
  height: 100%;
  border-radius: 5px;
  background: var(--bar);
  min-width: 2px;
}
.shares .count {
  color: var(--dim);
  font-variant-numeric: tabular-nums;
}
.scroll {
  overflow-x: auto;
  max-height: 420px;
  overflow-y: auto;
}
.scroll::after {
  content: "";
  display: block;
  position: sticky;
  bottom: 0;
  height: 24px;
  background: linear-gradient(to top, var(--card), transparent);
  pointer-events: none;
}
.scroll + .none {
  margin: 10px 0 0;
}
.scroll:has(+ .none) {
  border-bottom: 1px solid var(--line);
}
table {
  border-collapse: collapse;
  width: 100%;
  font-size: 13.5px;
}
th {
  position: sticky;
  top: 0;
  background: var(--card);
  text-align: left;
  color: var(--dim);
  font-weight: 600;
}
th,
td {
  padding: 6px 10px 6px 0;
  border-bottom: 1px solid var(--line);
  vertical-align: top;
}
td {
  overflow-wrap: anywhere;
}
td:first-child {
  white-space: nowrap;
}
td .parts {
  color: var(--dim);
  font-size: 12.5px;
}
@media (max-width: 640px) {
  main {
    padding: 20px 12px 48px;
  }
  section {
    padding: 14px 14px 16px;
  }
  .texts,
  .texts tbody,
  .texts tr,
  .texts td {
    display: block;
  }
  .texts thead {
    display: none;
  }
  .texts td {
    border: 0;
    padding: 1px 0;
  }
  .texts tr {
    border-bottom: 1px solid var(--line);
    padding: 8px 0;
  }
  header h1 {
    font-size: 21px;
  }
  .shares {
    grid-template-columns: minmax(70px, 38%) 1fr max-content;
  }
  .shares .count {
    font-size: 12.5px;
  }
  .plot {
    height: 110px;
  }
}
.sample {
  white-space: pre-wrap;
  overflow-wrap: anywhere;
  background: var(--ground);
  border-radius: 8px;
  padding: 12px 14px;
  margin: 10px 0 4px;
  font:
    13px/1.55 ui-monospace,
    SFMono-Regular,
    Menlo,
    Consolas,
    "Noto Sans Mono CJK SC",
    monospace;
  color: var(--dim);
}
.sample mark {
  color: var(--ink);
  border-radius: 3px;
}
mark.learned {
  background: var(--learned);
}
mark.cut {
  background: var(--cut);
  text-decoration: line-through;
}
`;
