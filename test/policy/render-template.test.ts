import { expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { nodeView, renderTemplate, type TemplateContext } from '#src/policy/render-template.ts';
import { testNode } from '../support/nodes.ts';

const red5 = testNode('red5', { own: { labels: { rack: 'a', 'net/speed': '1G' } } });

const context: TemplateContext = {
  node: nodeView(red5, parseIpv4('10.0.0.5'), 'arm64'),
  nodes: [
    { name: 'red5', address: '10.0.0.5', group: '', labels: { rack: 'a' } },
    { name: 'red6', address: '10.0.0.6', group: '', labels: {} },
  ],
  variables: { peers: ['a', 'b'], deep: { port: 80 } },
  cluster: { domain: 'cluster.internal' },
};

test.each([
  ['{{ node.name }}.{{ cluster.domain }} {{ node.address }} {{ node.arch }}', 'red5.cluster.internal 10.0.0.5 arm64'],
  ['{{ node.labels["net/speed"] }} {{ node.serial | default: "none" }}', '1G none'],
  ['{% for n in nodes %}{{ n.name }}={{ n.address }};{% endfor %}', 'red5=10.0.0.5;red6=10.0.0.6;'],
  ['{{ variables.deep.port | plus: 1 }} {{ variables.peers | join: "," }}', '81 a,b'],
  ['{% if variables.missing %}yes{% else %}no{% endif %}', 'no'],
])('%s', (template, text) => {
  expect(renderTemplate(template, context)).toEqual({ text });
});

test.each([
  ['a\nb\n{{ node.nmae }}', 3, 'undefined variable: node.nmae'],
  ['{{ node.name | upcase | foo }}', 1, 'undefined filter: foo'],
  ['\n{% if node.name', 2, 'tag "{% if node.name" not closed'],
  ['\n{% include "/etc/shadow" %}', 2, 'tag "include" not found'],
  ['{% render "/etc/shadow" %}', 1, 'tag "render" not found'],
  ['{{ node.constructor }}', 1, 'undefined variable: node.constructor'],
  ['{{ "now" | date: "%s" }}', 1, 'undefined filter: date'],
  ['{% for i in (1..100000000) %}x{% endfor %}', 1, 'memory alloc limit exceeded'],
])('%s is told with its line', (template, line, reason) => {
  expect(renderTemplate(template, context)).toEqual({ line, reason });
});
