# Which of thirteen chemical measurements tell three grape cultivars apart, and how well can they be
# told apart at all? Base R only.
#
# Reads data/wine.csv; writes measurements.csv, accuracy.csv and wine.png to results/, and the fitted
# model to wine-model.rds. Run it in this folder: Rscript analyse.R, or shore run analyse.R

set.seed(20261120)
repeats <- 20
fold_count <- 10

# Appends a line to the file that a launcher named; does nothing where there is none.
tell <- function(variable, line) {
  path <- Sys.getenv(variable)
  if (nzchar(path)) cat(line, "\n", sep = "", file = path, append = TRUE)
}

# One row a measurement: how much of its variance the cultivars explain, and whether that is chance.
weigh <- function(values, group) {
  rows <- lapply(names(values), function(name) {
    table <- anova(lm(values[[name]] ~ group))
    data.frame(
      measurement = name,
      explained = table[["Sum Sq"]][1] / sum(table[["Sum Sq"]]),
      F = table[["F value"]][1],
      p = table[["Pr(>F)"]][1]
    )
  })
  found <- do.call(rbind, rows)
  found$p_holm <- p.adjust(found$p, "holm")
  found[order(-found$explained), ]
}

# A Gaussian classifier: centres, and one covariance a group ("quadratic"), one for all ("linear"),
# or one for all with its diagonal only ("centroids").
fit <- function(values, group, kind) {
  values <- as.matrix(values)
  centres <- apply(values, 2, tapply, group, mean)
  scatter <- lapply(split.data.frame(values, group), cov)
  if (kind != "quadratic") {
    weight <- (table(group) - 1) / (length(group) - nlevels(group))
    pooled <- Reduce(`+`, Map(`*`, scatter, weight))
    if (kind == "centroids") pooled <- diag(diag(pooled))
    scatter <- lapply(scatter, function(one) pooled)
  }
  structure(
    list(kind = kind, centres = centres, scatter = scatter, prior = prop.table(table(group))),
    class = "gaussian_classifier"
  )
}

predict.gaussian_classifier <- function(object, values, ...) {
  score <- sapply(names(object$scatter), function(name) {
    spread <- object$scatter[[name]]
    log(object$prior[[name]]) - 0.5 * as.numeric(determinant(spread)$modulus) -
      0.5 * mahalanobis(as.matrix(values), object$centres[name, ], spread)
  })
  factor(colnames(score)[max.col(score)], levels = names(object$scatter))
}

# The share of wines named rightly by a model that had not seen them, for each way to fold.
validate <- function(values, group, kind, done, of) {
  vapply(seq_len(repeats), function(turn) {
    fold <- sample(rep_len(seq_len(fold_count), nrow(values)))
    right <- vapply(seq_len(fold_count), function(held) {
      model <- fit(values[fold != held, ], group[fold != held], kind)
      sum(predict(model, values[fold == held, ]) == group[fold == held])
    }, numeric(1))
    tell("SHOREPOWER_PROGRESS", sprintf("%.3f %s, round %d", (done + turn / repeats) / of, kind, turn))
    sum(right) / nrow(values)
  }, numeric(1))
}

draw <- function(path, values, group, found, accuracy) {
  colours <- c("#7b1f3a", "#c9a227", "#4f7f5f")
  parts <- prcomp(values, scale. = TRUE)
  png(path, width = 1500, height = 650, res = 120, type = "cairo")
  on.exit(dev.off())
  par(mfrow = c(1, 2), mar = c(4.5, 4.5, 2.5, 1), las = 1)
  share <- round(100 * parts$sdev^2 / sum(parts$sdev^2))
  plot(parts$x[, 1:2],
    col = colours[group], pch = 15 + as.integer(group),
    xlab = sprintf("first component (%d %%)", share[1]),
    ylab = sprintf("second component (%d %%)", share[2]),
    main = sprintf("%d wines, %d measurements", nrow(values), ncol(values))
  )
  legend("topright", paste("cultivar", levels(group)), col = colours, pch = 16:18, bty = "n")
  par(mar = c(4.5, 11, 2.5, 1))
  barplot(rev(found$explained),
    names.arg = rev(gsub("_", " ", found$measurement)), horiz = TRUE, xlim = c(0, 1),
    col = "#4f7f5f", border = NA, xlab = "variance explained by the cultivar",
    main = sprintf("%s: %.1f %% named rightly", accuracy$classifier[1], 100 * accuracy$mean[1])
  )
}

wine <- read.csv("data/wine.csv")
group <- factor(wine$cultivar)
values <- wine[names(wine) != "cultivar"]
cat(sprintf("%d wines of %d cultivars, %d measurements\n", nrow(wine), nlevels(group), ncol(values)))

found <- weigh(values, group)
cat(sprintf("most telling: %s (%.0f %% of its variance)\n", found$measurement[1], 100 * found$explained[1]))

kinds <- c("centroids", "linear", "quadratic")
accuracy <- do.call(rbind, lapply(seq_along(kinds), function(number) {
  share <- validate(values, group, kinds[number], number - 1, length(kinds))
  cat(sprintf("%-10s %.2f %% right (sd %.2f)\n", kinds[number], 100 * mean(share), 100 * sd(share)))
  tell("SHOREPOWER_METRICS", sprintf('{"classifier": "%s", "accuracy": %.4f}', kinds[number], mean(share)))
  data.frame(classifier = kinds[number], mean = mean(share), sd = sd(share), rounds = repeats)
}))
accuracy <- accuracy[order(-accuracy$mean), ]

dir.create("results", showWarnings = FALSE)
tidy <- function(table) {
  numbers <- vapply(table, is.double, logical(1))
  table[numbers] <- lapply(table[numbers], signif, 5)
  table
}
write.csv(tidy(found), "results/measurements.csv", row.names = FALSE, quote = FALSE)
write.csv(tidy(accuracy), "results/accuracy.csv", row.names = FALSE, quote = FALSE)
best <- fit(values, group, accuracy$classifier[1])
saveRDS(best, "wine-model.rds")
draw("results/wine.png", values, group, found, accuracy)
tell("SHOREPOWER_PROGRESS", "1.0 done")
cat(sprintf("best: %s; fitted to all %d wines\n", best$kind, nrow(wine)))
