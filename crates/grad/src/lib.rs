//! A loaded graph, differentiable: gradients of weights and values, Hessian products.
