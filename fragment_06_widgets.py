# The widget cells of chapter 06, in percent format. They expect:
#   grid, samples   the saved grid, in the format of pudm_lib.beta_explorer.beta_explorer
#   preset          as in every chapter
# and in the chapter's imports:
#   from pudm_lib.beta_explorer import beta_explorer
#   from pudm_lib.live_toy import live_toy

# %% [markdown]
# ## Turn the knob yourself
#
# The next figure is one point of the grid, all of it: samples on the left with the sensitive ones framed; on the right the rate, the distances and the estimated risk on normal images, with this $\beta$ in yellow and the true share dotted. In JupyterLab the slider below it walks through the grid, by mouse or with the arrow keys; nothing is trained, the grid is on disk.
#
# **Predict, then move.** You only see samples, and want as few frames as possible. Which way do you push the slider, and what on the right tells you when to stop?

# %%
beta_explorer(grid, samples)

# %% [markdown]
# <details><summary>Answer</summary>
#
# To the right, and the frames alone would never tell you to stop: what they count, the rate, does not see how good a normal image is. The distances do. They are also computed from held-out normal images, which a user of the method may not have; the risk curve needs $U$ and $S$ alone. Watch where it lies at the end of the training as $\beta$ grows: it is the estimate of $(1-\beta)\,\mathbb E_{p_N}[\ell]$, which cannot be negative, so a curve that is held at zero says that more is being subtracted than $U$ holds. Switch between the two risks, too: up to the first batch with a negative risk they are one computation (chapter 04), so they can only differ where the share of such steps, in the line above the picture, is not zero.
#
# </details>
#
# *Caption. The slider begins at the smallest $\beta$ of the grid that is not below the true share. Rate: mean over seeds with the interval of all samples taken together. Grey: the risk at the other $\beta$ of this method.*
#
# ## Watch it learn
#
# The grid shows where trainings end. A toy is small enough to watch one under way: chapter 04's blobs in the plane, 2,000 points in $U$, 20 in $S$. On the left is what the model draws. On the right is its error $\ell$ on points that were noised a little, dark where it is large. At the green line $\ell = 2$, the error of a guess of no noise at all in two dimensions; beyond it the model is worse than that guess, so the line is the border of what it takes for data. PU training has to open a hole around the crosses in the middle, which are labelled, without losing the top blob, which has crosses beside it.
#
# **Predict, then train.** The figure is trained with the true share, $\beta = 1/11$. In JupyterLab, choose another $\beta$ and press *Train*. At 0, is there a hole in the middle all the same? At 0.3 or 0.5, what happens to the blobs that nobody labelled?

# %%
live_toy(steps=600 if preset == "ci" else 1200)

# %% [markdown]
# <details><summary>Answer</summary>
#
# At $\beta = 0$ there can be a shallow one: few points of $U$ lie there, and a small network rounds them off; yet it goes on drawing points inside. At the true share the hole is deep and the points leave it. Far above it the error is pushed up around $S$ with more than $U$ can hold against it, and since all places share one network, the normal blobs are pulled out of shape: fewer leaked points, or even more beside the top blob, and many where no data are. Look at the first pictures on the way as well: they have no blobs yet. The model learns first where data are at all, and only then what is between them.
#
# </details>
#
# *Caption. Left: 600 points by DDIM, always from the same noise; crosses: sensitive is the likelier origin under the true densities. Right: $\ell$, mean over 24 draws at indices 50 to 149; crosses: the labelled points $S$. While a training runs, both are of the weights of that step; the last picture is of their average, as in chapter 02.*
#
# *Cancel* stops a training at its next look at the losses, every 25 steps. The last picture stays, and *Train* begins anew from the same first weights.
