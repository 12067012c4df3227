"""The tree distribution by definition, one row at a time, in float64."""

import numpy as np


class Brute:
    """Level logits (C,) in id order; enumerates what there is."""

    def __init__(self, tree, levels):
        self.tree, self.raw = tree, levels
        self.log_prob = []  # per level (C,) log p(node)
        for level, x in enumerate(levels):
            above = self.log_prob[-1] if level else np.zeros(1)
            parents = tree.parents[level]
            siblings = [x[parents == p] for p in parents]
            own = [
                v - np.log(np.exp(s).sum()) for v, s in zip(x, siblings, strict=True)
            ]
            self.log_prob.append(np.array(own) + above[parents])
        has_child = [set(p.tolist()) for p in tree.parents[1:]] + [set()]
        self.leaves = [
            (level, i)
            for level, inner in enumerate(has_child)
            for i in range(tree.sizes[level])
            if i not in inner
        ]

    def path(self, level, i):
        path = [-1] * self.tree.num_levels
        while level >= 0:
            path[level], i = i, int(self.tree.parents[level][i])
            level -= 1
        return path

    def best_leaf(self, score):
        return self.path(*max(self.leaves, key=lambda n: score[n[0]][n[1]]))

    def least_distance(self):
        """The leaf of the least expected number of steps to the truth."""
        nodes = [self._steps(*leaf) for leaf in self.leaves]
        weights = [np.exp(self.log_prob[level][i]) for level, i in self.leaves]

        def expected(leaf):
            own = self._steps(*leaf)
            return sum(w * len(own ^ n) for w, n in zip(weights, nodes, strict=True))

        return self.path(*min(self.leaves, key=expected))

    def expected_costs(self, listed):
        """Of every leaf; `listed`: (code, code) of predicted and true end -> cost."""
        ends = [self.tree.decode(self.path(*leaf))[-1] for leaf in self.leaves]
        nodes = [self._steps(*leaf) for leaf in self.leaves]
        weights = [np.exp(self.log_prob[level][i]) for level, i in self.leaves]
        return [
            sum(
                w * listed.get((end, other), len(own ^ n))
                for w, n, other in zip(weights, nodes, ends, strict=True)
            )
            for own, end in zip(nodes, ends, strict=True)
        ]

    def least_cost(self, listed):
        """The leaf of the least expected cost."""
        costs = self.expected_costs(listed)
        return self.path(*self.leaves[int(np.argmin(costs))])

    def _steps(self, level, i):
        """Real nodes on the way from the root."""
        found = enumerate(self.path(level, i))
        stop = self.tree.stop
        return {(k, n) for k, n in found if n >= 0 and not stop[k][n]}

    def greedy(self):
        path, parent = [-1] * self.tree.num_levels, 0
        for level, x in enumerate(self.raw):
            children = np.flatnonzero(self.tree.parents[level] == parent)
            if not len(children):
                break
            path[level] = parent = int(children[np.argmax(x[children])])
        return path

    def topk(self, k):
        score = lambda n: self.log_prob[n[0]][n[1]]  # noqa: E731
        best = sorted(self.leaves, key=score, reverse=True)[:k]
        return [self.path(*n) for n in best], [score(n) for n in best]

    def confident(self, least):
        for level in reversed(range(self.tree.num_levels)):
            i = int(np.argmax(self.log_prob[level]))
            if self.log_prob[level][i] >= np.log(least):
                return self.path(level, i)
        return [-1] * self.tree.num_levels

    def level_topk(self, k):
        rows = []
        for log_prob, stop in zip(self.log_prob, self.tree.stop, strict=True):
            order = [i for i in np.argsort(-log_prob) if not stop[i]][:k]
            rows.append(order + [-1] * (k - len(order)))
        return rows
